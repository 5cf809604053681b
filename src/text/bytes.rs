//! GPT-2's characters for bytes. Printable bytes stand for themselves; the others are numbered from
//! U+0100 on.

/// The character for each byte.
const CHARACTERS: [char; 256] = {
    let mut characters = ['\0'; 256];
    let mut next = 0x100;
    let mut byte = 0;
    while byte < 256 {
        let itself = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if itself { byte } else { next };
        if !itself {
            next += 1;
        }
        if let Some(c) = char::from_u32(code) {
            characters[byte as usize] = c;
        }
        byte += 1;
    }
    characters
};

/// The character for a byte.
pub fn character(byte: u8) -> char {
    CHARACTERS[usize::from(byte)]
}

/// Writes the characters for the bytes of a character.
pub fn encode(c: char, out: &mut String) {
    out.extend(c.encode_utf8(&mut [0; 4]).bytes().map(character));
}

/// The byte that a character stands for.
pub fn decode(c: char) -> Option<u8> {
    let found = CHARACTERS.iter().position(|known| *known == c)?;
    u8::try_from(found).ok()
}
