//! Protocol buffers' wire format: fields of a message that is here in whole. What is too large for
//! that is walked by [`super::stream`], which only takes tags and lengths from here.

use core::result::Result;

/// A field's value.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64([u8; 8]),
    /// Wire type 2: a string, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32([u8; 4]),
}

/// The most bytes of a varint.
pub const MOST_VARINT: usize = 10;

/// A varint at the start of `bytes`, and its length; `None` if more bytes are needed.
pub fn varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, &'static str> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(MOST_VARINT).enumerate() {
        if at == MOST_VARINT - 1 && *byte > 1 {
            return Err("it has a number of more than 64 bits");
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() < MOST_VARINT {
        Ok(None)
    } else {
        Err("it has a number of more than 64 bits")
    }
}

/// Number and wire type of a field, by its tag.
pub fn tag(tag: u64) -> Result<(u32, u8), &'static str> {
    let field = u32::try_from(tag >> 3).unwrap_or(0);
    if field == 0 || field > 1 << 29 {
        return Err("it has a field of a number that no message has");
    }
    Ok((field, (tag & 7) as u8))
}

/// Calls `each` with the fields of a message.
pub fn fields<'a, E: From<&'static str>>(
    mut bytes: &'a [u8],
    mut each: impl FnMut(u32, Value<'a>) -> Result<(), E>,
) -> Result<(), E> {
    const SHORT: &str = "a message ends within a field";
    fn take(bytes: &mut &[u8]) -> Result<u64, &'static str> {
        let (value, length) = varint(bytes)?.ok_or(SHORT)?;
        *bytes = &bytes[length..];
        Ok(value)
    }
    while !bytes.is_empty() {
        let (field, wire) = tag(take(&mut bytes)?)?;
        let value = match wire {
            0 => Value::Varint(take(&mut bytes)?),
            1 => {
                let (value, rest) = bytes.split_first_chunk().ok_or(SHORT)?;
                bytes = rest;
                Value::Fixed64(*value)
            }
            5 => {
                let (value, rest) = bytes.split_first_chunk().ok_or(SHORT)?;
                bytes = rest;
                Value::Fixed32(*value)
            }
            2 => {
                let length = usize::try_from(take(&mut bytes)?).map_err(|_| SHORT)?;
                let (value, rest) = bytes.split_at_checked(length).ok_or(SHORT)?;
                bytes = rest;
                Value::Bytes(value)
            }
            _ => return Err("it has a field of a wire type that is not known".into()),
        };
        each(field, value)?;
    }
    Ok(())
}

/// Numbers of a repeated field, which is packed or one by one.
pub fn numbers(value: Value, mut each: impl FnMut(u64)) -> Result<(), &'static str> {
    match value {
        Value::Varint(value) => each(value),
        Value::Bytes(mut bytes) => {
            while !bytes.is_empty() {
                let (value, length) =
                    varint(bytes)?.ok_or("a list of numbers ends within a number")?;
                bytes = &bytes[length..];
                each(value);
            }
        }
        _ => return Err("a whole number is stored as a floating-point one"),
    }
    Ok(())
}

/// A string.
pub fn text(value: Value) -> Result<String, &'static str> {
    match value {
        Value::Bytes(bytes) => core::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| "a name is not UTF-8"),
        _ => Err("a name is stored as a number"),
    }
}

/// Bytes.
pub fn bytes(value: Value<'_>) -> Result<&[u8], &'static str> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        _ => Err("a message is stored as a number"),
    }
}
