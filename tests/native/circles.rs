//! No two files of `src/model` may depend on each other, directly or through others: what a file
//! says can then be understood from the files that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Name = Vec<String>;

/// The modules of the crate and their source without tests and comments, by path in the crate.
fn modules() -> BTreeMap<Name, String> {
    fn visit(folder: &Path, name: &[String], modules: &mut BTreeMap<Name, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                visit(&path, &[name, &[stem]].concat(), modules);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = std::fs::read_to_string(&path).unwrap();
                let source = source.split("#[cfg(test)]\nmod ").next().unwrap();
                let lines = source
                    .lines()
                    .map(|line| line.split("//").next().unwrap_or_default());
                let source = lines.collect::<Vec<_>>().join("\n");
                let own = !matches!(stem.as_str(), "mod" | "lib");
                let name = [name, &[stem][..usize::from(own)]].concat();
                modules.insert(name, source);
            }
        }
    }
    let mut modules = BTreeMap::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    visit(&root, &[], &mut modules);
    modules
}

/// The paths of a use tree: `a::{b, c::d}` has `a::b` and `a::c::d`.
fn paths(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        return vec![tree.to_owned()];
    };
    let (prefix, rest) = tree.split_at(open);
    let inner = &rest[1..rest.rfind('}').unwrap_or(rest.len())];
    let (mut depth, mut start, mut all) = (0, 0, Vec::new());
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inner[start..at].trim();
                start = at + 1;
                if !part.is_empty() {
                    all.extend(paths(&format!("{prefix}{part}")));
                }
            }
            _ => {}
        }
    }
    all
}

/// The modules that the source of one refers to.
fn dependencies(name: &Name, source: &str, modules: &BTreeMap<Name, String>) -> BTreeSet<Name> {
    let uses = source.split("use ").skip(1).flat_map(|rest| {
        let tree = rest.split(';').next().unwrap_or_default();
        paths(tree)
    });
    // Paths in full, in the middle of the code.
    let inline = source.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || "_:".contains(c)));
        format!("crate::{}", &rest[..end.unwrap_or(rest.len())])
    });
    let mut found = BTreeSet::new();
    for path in uses.chain(inline) {
        let mut parts = path.split("::").map(|part| part.trim().to_owned());
        let mut base = match parts.next().as_deref() {
            Some("crate") => Vec::new(),
            Some("self") => name.clone(),
            Some("super") => name[..name.len().saturating_sub(1)].to_vec(),
            _ => continue,
        };
        for part in parts {
            if part == "super" {
                base.pop();
            } else {
                base.push(part);
            }
        }
        while !base.is_empty() && !modules.contains_key(&base) {
            base.pop();
        }
        found.insert(base);
    }
    found.remove(name);
    found
}

/// The modules that a module depends on, through others too.
fn reachable<'a>(from: &'a Name, graph: &'a BTreeMap<Name, BTreeSet<Name>>) -> BTreeSet<&'a Name> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&Name> = graph[from].iter().collect();
    while let Some(name) = open.pop() {
        if found.insert(name) {
            open.extend(&graph[name]);
        }
    }
    found
}

#[test]
fn no_files_of_a_room_depend_on_each_other() {
    let modules = modules();
    let mut graph = BTreeMap::new();
    for (name, source) in &modules {
        graph.insert(name.clone(), dependencies(name, source, &modules));
    }
    assert!(graph[&["model", "embedder"].map(str::to_owned).to_vec()].len() > 5);
    for name in graph.keys().filter(|name| {
        let room = name.first().map(String::as_str);
        matches!(room, Some("model" | "text" | "weights" | "web" | "jobs"))
    }) {
        let own = reachable(name, &graph);
        let circle: Vec<_> = graph
            .keys()
            .filter(|other| own.contains(other) && reachable(other, &graph).contains(name))
            .map(|name| name.join("::"))
            .collect();
        assert!(circle.is_empty(), "these depend on each other: {circle:?}");
    }
}

#[test]
fn use_trees_are_read() {
    assert_eq!(
        paths("crate::a::{b, c::{self, D}, e::F}"),
        [
            "crate::a::b",
            "crate::a::c::self",
            "crate::a::c::D",
            "crate::a::e::F"
        ]
    );
}
