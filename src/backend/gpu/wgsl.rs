//! WGSL without comments and indentation, which take a third of its compressed size.

/// Removes comments, indentation and empty lines. Returns the bytes, and how many of them are used.
/// No kernel has a string or a block comment, so `//` always begins a comment.
pub const fn minified<const N: usize>(source: &[u8]) -> ([u8; N], usize) {
    let mut out = [0; N];
    let (mut at, mut end) = (0, 0);
    while at < source.len() {
        let begins_line = end == 0 || out[end - 1] == b'\n';
        let byte = source[at];
        if byte == b'/' && at + 1 < source.len() && source[at + 1] == b'/' {
            while at < source.len() && source[at] != b'\n' {
                at += 1;
            }
            while end > 0 && out[end - 1] == b' ' {
                end -= 1;
            }
            continue;
        }
        if !(begins_line && (byte == b' ' || byte == b'\n')) {
            out[end] = byte;
            end += 1;
        }
        at += 1;
    }
    (out, end)
}

/// The text of a file in `kernels/`, minified when the crate is compiled.
macro_rules! wgsl {
    ($name:literal) => {{
        const SOURCE: &[u8] = include_bytes!(concat!("kernels/", $name));
        const MINIFIED: ([u8; SOURCE.len()], usize) = $crate::backend::gpu::wgsl::minified(SOURCE);
        // A copy of the right length, so that the rest is not in the binary.
        const BYTES: [u8; MINIFIED.1] = *MINIFIED.0.first_chunk().expect("it is not longer");
        const TEXT: &str = match std::str::from_utf8(&BYTES) {
            Ok(text) => text,
            Err(_) => panic!("a kernel is UTF-8"),
        };
        TEXT
    }};
}

pub(super) use wgsl;

#[cfg(test)]
mod tests {
    #[test]
    fn comments_and_indentation_go() {
        let source =
            b"// Title.\n\n  // More.\nfn main() { // here\n    let x = 4 / 2;\n\n}\n// end";
        let (bytes, length) = super::minified::<80>(source);
        assert_eq!(
            std::str::from_utf8(&bytes[..length]).unwrap(),
            "fn main() {\nlet x = 4 / 2;\n}\n"
        );
    }
}
