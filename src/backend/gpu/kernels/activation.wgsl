// Element-wise activations; takes the place of `activate` in kernels that end with one.

// 0 identity, 1 relu, 2 gelu, 3 gelu (tanh), 4 silu, 5 sigmoid, 6 tanh
override ACTIVATION: u32 = 0u;

// tanh that cannot overflow: e^−2|x| is at most 1. Near zero the difference would cancel, and the series is exact enough.
fn tanh_of(x: f32) -> f32 {
    let size = abs(x);
    let power = exp(-2.0 * size);
    let far = sign(x) * (1.0 - power) / (1.0 + power);
    let squared = x * x;
    let near = x * (1.0 + squared * (-1.0 / 3.0 + squared * (2.0 / 15.0 + squared * (-17.0 / 315.0))));
    return select(far, near, size < 0.1);
}

// x·Φ(x) by the polynomial of the CPU's kernel: max(x, 0) − a·Φ(−a), a = |x| up to 5.3, u = 2a / 5.3 − 1.
fn gelu(x: f32) -> f32 {
    let a = min(abs(x), 5.3);
    let u = a * (2.0 / 5.3) - 1.0;
    var p = 0.00219108;
    p = p * u + 0.0063983095;
    p = p * u - 0.027948847;
    p = p * u - 0.005634794;
    p = p * u + 0.09236099;
    p = p * u - 0.069494635;
    p = p * u - 0.10058506;
    p = p * u + 0.20563826;
    p = p * u - 0.09213259;
    p = p * u - 0.13286722;
    p = p * u + 0.2612561;
    p = p * u - 0.222462;
    p = p * u + 0.110824175;
    p = p * u - 0.031568363;
    p = p * u + 0.0040247245;
    return max(x, 0.0) - a * p;
}

fn activate(x: f32) -> f32 {
    switch ACTIVATION {
        case 1u: { return max(x, 0.0); }
        case 2u: { return gelu(x); }
        case 3u: { return 0.5 * x * (1.0 + tanh_of(0.7978846 * (x + 0.044715 * x * x * x))); }
        case 4u: { return x / (1.0 + exp(-x)); }
        case 5u: { return 1.0 / (1.0 + exp(-x)); }
        case 6u: { return tanh_of(x); }
        default: { return x; }
    }
}
