// Adds what one expert gives to the sum of the experts, times its probability, for the tokens that
// take it. The first expert begins the sum with the bias.

struct Shape {
    // Number of values of the sum, and its width
    size: u32,
    width: u32,
    // Number of experts, and of those that a token takes
    count: u32,
    top: u32,
    // Index of this expert
    index: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
// [tokens, count]
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> given: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn expert(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    for (var at = id.x; at < shape.size; at += groups.x * 256u) {
        let first = at / shape.width * shape.count;
        let own = logits[first + shape.index];
        // Experts that come before this one, and the largest logit
        var before = 0u;
        var most = own;
        for (var other = 0u; other < shape.count; other++) {
            let logit = logits[first + other];
            most = max(most, logit);
            if logit > own || (logit == own && other < shape.index) { before++; }
        }
        var sum: f32;
        if shape.index == 0u { sum = bias[at % shape.width]; } else { sum = out[at]; }
        if before < shape.top {
            var all = 0.0;
            for (var other = 0u; other < shape.count; other++) { all += exp(logits[first + other] - most); }
            sum += exp(own - most) / all * given[at];
        }
        out[at] = sum;
    }
}
