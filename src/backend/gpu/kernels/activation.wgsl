// Element-wise activations. This file replaces `activate` in kernels that apply one.

// A number of `Activation`
override ACTIVATION: u32 = Activation_Identity;

// tanh by e^−2|x|, which is at most 1 and so cannot overflow. Near zero the difference would
// cancel, so there it is the Taylor series.
fn tanh_of(x: f32) -> f32 {
    let size = abs(x);
    let power = exp(-2.0 * size);
    let far = sign(x) * (1.0 - power) / (1.0 + power);
    let squared = x * x;
    let near = x * (1.0 + squared * (-1.0 / 3.0 + squared * (2.0 / 15.0 + squared * (-17.0 / 315.0))));
    return select(far, near, size < 0.1);
}

// x·Φ(x) = max(x, 0) − a·Φ(−a) with a = |x|. Φ(−a) is a polynomial of degree 14 in u = 2a / 5.3 −
// 1, fitted on 0 ≤ a ≤ 5.3. Beyond that a·Φ(−a) is below 4e-7.
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
        case Activation_Relu: { return max(x, 0.0); }
        case Activation_Gelu: { return gelu(x); }
        case Activation_GeluTanh: { return 0.5 * x * (1.0 + tanh_of(0.7978846 * (x + 0.044715 * x * x * x))); }
        case Activation_Silu: { return x / (1.0 + exp(-x)); }
        case Activation_Sigmoid: { return 1.0 / (1.0 + exp(-x)); }
        case Activation_Tanh: { return tanh_of(x); }
        default: { return x; }
    }
}
