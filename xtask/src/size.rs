//! How many bytes of the wasm each crate takes.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;
use wasmparser::{KnownCustom, Name, Parser, Payload};

use crate::build;

/// Number of crates that the table names. The others are one line.
const LISTED: usize = 14;

/// Prints the bytes of code of each crate, and the bytes of data.
pub fn report() -> Result<()> {
    let wasm = fs::read(build::named("simd128"))?;
    let (crates, data) = by_crate(&wasm)?;
    let code: usize = crates.values().sum();
    let mut crates: Vec<_> = crates.into_iter().collect();
    crates.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    println!("| in simd128.wasm before wasm-opt | bytes |\n|---|---|");
    println!("| data (tables and strings) | {data} |\n| code | {code} |");
    for (name, size) in crates.iter().take(LISTED) {
        println!("| … {name} | {size} |");
    }
    let rest: usize = crates.iter().skip(LISTED).map(|(_, size)| size).sum();
    println!("| … others | {rest} |");
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
