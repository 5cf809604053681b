// The sum of four products of signed bytes. This file replaces `dot_of` where the language lacks
// `dot4I8Packed`.

fn bytes_of(word: u32) -> vec4<i32> {
    let bytes = vec4<i32>(vec4(word) << vec4(24u, 16u, 8u, 0u));
    return bytes >> vec4(24u);
}

fn dot_of(a: u32, b: u32) -> i32 {
    return dot(bytes_of(a), bytes_of(b));
}
