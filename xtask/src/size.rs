//! How many bytes of the wasm each crate takes.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;
use wasmparser::{KnownCustom, Name, Parser, Payload};

use crate::build;

/// Number of crates that the table names. The others are one line.
const LISTED: usize = 14;

/// Prints the bytes of code of each crate, and the bytes of data, in the common and in the full
/// build.
pub fn report() -> Result<()> {
    let read = |name| by_crate(&fs::read(build::named(name))?);
    let (common, common_data) = read("common-simd128")?;
    let (full, full_data) = read("simd128")?;
    let row = |what: &str, [common, full]: [usize; 2]| println!("| {what} | {common} | {full} |");
    println!("| before wasm-opt, bytes | common | full |\n|---|---|---|");
    row("data (tables and strings)", [common_data, full_data]);
    row("code", [&common, &full].map(|crates| crates.values().sum()));
    let mut crates: Vec<_> = full.iter().collect();
    crates.sort_by_key(|(_, size)| std::cmp::Reverse(**size));
    let (listed, others) = crates.split_at(LISTED.min(crates.len()));
    let sizes = |name: &str, size: usize| [common.get(name).copied().unwrap_or(0), size];
    for (name, size) in listed {
        row(&format!("… {name}"), sizes(name, **size));
    }
    let others = others.iter().map(|(name, size)| sizes(name, **size));
    row(
        "… others",
        others.fold([0, 0], |[a, b], [c, d]| [a + c, b + d]),
    );
    Ok(())
}

/// Bytes of code by crate, by the names of functions, and bytes of data.
fn by_crate(wasm: &[u8]) -> Result<(BTreeMap<String, usize>, usize)> {
    let mut imported = 0;
    let mut sizes = Vec::new();
    let mut data = 0;
    let mut names = BTreeMap::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    imported += u32::from(matches!(import?.ty, wasmparser::TypeRef::Func(_)));
                }
            }
            Payload::CodeSectionEntry(body) => sizes.push(body.range().len()),
            Payload::DataSection(section) => data = section.range().len(),
            Payload::CustomSection(section) => {
                let KnownCustom::Name(subsections) = section.as_known() else {
                    continue;
                };
                for subsection in subsections {
                    let Name::Function(functions) = subsection? else {
                        continue;
                    };
                    for function in functions {
                        let function = function?;
                        names.insert(function.index, function.name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    let mut crates = BTreeMap::new();
    for (index, size) in (imported..).zip(sizes) {
        let name = names.get(&index).map_or("", String::as_str);
        *crates.entry(crate_of(name)).or_default() += size;
    }
    Ok((crates, data))
}

/// The crate of a function: the first path in its name.
fn crate_of(name: &str) -> String {
    let path = name
        .trim_start_matches(['<', '&', '[', '(', '*'])
        .trim_start_matches("dyn ");
    let end = path
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(path.len());
    if path[end..].starts_with("::") || path[end..].starts_with('[') {
        path[..end].to_owned()
    } else {
        "(no path)".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::crate_of;

    #[test]
    fn crates_are_read_off_function_names() {
        assert_eq!(
            crate_of("tokenizers::models::bpe::word::h0123"),
            "tokenizers"
        );
        assert_eq!(
            crate_of("<gossamer::Cpu as gossamer::Backend>::linear"),
            "gossamer"
        );
        assert_eq!(crate_of("<dlmalloc[e24a]::Dlmalloc>::malloc"), "dlmalloc");
        assert_eq!(crate_of("fmaxf"), "(no path)");
    }
}
