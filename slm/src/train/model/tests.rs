use candle_core::{D, Var};

use super::*;
use crate::train::parameters::Kind;
use llm::random::SplitMix64;

fn shape() -> Shape {
    let text =
        "name='t'\nlayers=2\nwidth=64\nffn=96\nheads=4\nkv_heads=2\nhead_dim=16\nvocabulary=50\ncontext=48";
    Shape::from_toml(text).unwrap()
}

/// The network in candle's plain operations, recorded by candle.
fn plain(
    shape: &Shape,
    vars: &[Var],
    tokens: &[u32],
    targets: &[u32],
    length: usize,
) -> candle_core::Result<Tensor> {
    let [heads, kv, dim] = [shape.heads, shape.kv_heads, shape.head_dim()].map(|n| n as usize);
    let (sequences, ffn) = (tokens.len() / length, shape.ffn as usize);
    let norm = |x: &Tensor, w: &Tensor| -> candle_core::Result<Tensor> {
        let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(EPSILON))?.sqrt()?;
        x.broadcast_div(&scale)?.broadcast_mul(w)
    };
    let half = dim / 2;
    let angles: Vec<f32> = (0..length * half)
        .map(|i| ((i / half) as f64 * shape.rope_base.powf(-((i % half) as f64) / half as f64)) as f32)
        .collect();
    let angles = Tensor::from_vec(angles, (1, 1, length, half), &Device::Cpu)?;
    let (cos, sin) = (angles.cos()?, angles.sin()?);
    let rotate = |x: &Tensor| -> candle_core::Result<Tensor> {
        let (a, b) = (x.narrow(3, 0, half)?, x.narrow(3, half, half)?);
        let left = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let right = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        Tensor::cat(&[left, right], 3)
    };
    let mask: Vec<f32> =
        (0..length * length).map(|i| if i % length > i / length { f32::NEG_INFINITY } else { 0.0 }).collect();
    let mask = Tensor::from_vec(mask, (1, 1, length, length), &Device::Cpu)?;
    let softmax = |x: &Tensor| -> candle_core::Result<Tensor> {
        let e = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
        e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
    };
    let indices = Tensor::from_slice(tokens, tokens.len(), &Device::Cpu)?;
    let mut x = vars[0].embedding(&indices)?;
    for layer in 0..shape.layers as usize {
        let w = |place| vars[Parameters::index(layer, place)].as_tensor();
        let h = norm(&x, w(place::ATTENTION_NORM))?;
        let qkv = h.matmul(&w(place::QKV).t()?)?;
        let part = |from: usize, n: usize| -> candle_core::Result<Tensor> {
            qkv.narrow(1, from * dim, n * dim)?
                .reshape((sequences, length, n, dim))?
                .transpose(1, 2)?
                .contiguous()
        };
        let spread = |t: Tensor| -> candle_core::Result<Tensor> {
            let t = t.unsqueeze(2)?.broadcast_as((sequences, kv, heads / kv, length, dim))?.contiguous()?;
            t.reshape((sequences, heads, length, dim))
        };
        let (q, k) = (rotate(&part(0, heads)?)?, spread(rotate(&part(heads, kv)?)?)?);
        let v = spread(part(heads + kv, kv)?)?;
        let scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? / (dim as f64).sqrt())?;
        let out = softmax(&scores.broadcast_add(&mask)?)?.matmul(&v)?;
        let out = out.transpose(1, 2)?.contiguous()?.reshape((tokens.len(), heads * dim))?;
        x = (x + out.matmul(&w(place::OUT).t()?)?)?;
        let h = norm(&x, w(place::FFN_NORM))?;
        let gu = h.matmul(&w(place::GATE_UP).t()?)?;
        let gated = (gu.narrow(1, 0, ffn)?.contiguous()?.silu()? * gu.narrow(1, ffn, ffn)?.contiguous()?)?;
        x = (x + gated.matmul(&w(place::DOWN).t()?)?)?;
    }
    let logits = norm(&x, vars[vars.len() - 1].as_tensor())?.matmul(&vars[0].t()?)?;
    let targets = Tensor::from_slice(targets, (targets.len(), 1), &Device::Cpu)?;
    let most = logits.max_keepdim(1)?.detach();
    let sums = logits.broadcast_sub(&most)?.exp()?.sum_keepdim(1)?.log()?;
    (sums + most - logits.gather(&targets, 1)?)?.sum_all()
}

#[test]
fn the_gradient_is_the_one_that_candle_records_over_the_plain_formulas() {
    let shape = shape();
    let (length, count) = (48, 96);
    let mut parameters = Parameters::random(&shape, 7).unwrap();
    let mut random = SplitMix64::new(3);
    // Weights that matter: wide ones, and norms that are not all 1.
    for p in &mut parameters.all {
        let wide = if p.kind == Kind::Norm { 0.3 } else { 0.15 };
        let values: Vec<f32> =
            (0..p.rows() * p.columns).map(|_| wide * (2.0 * random.next_f32() - 1.0)).collect();
        let middle = if p.kind == Kind::Norm { 1.0 } else { 0.0 };
        let values = values.iter().map(|v| v + middle).collect();
        p.values = Tensor::from_vec(values, (p.rows(), p.columns), &Device::Cpu).unwrap();
    }
    let draw =
        |random: &mut SplitMix64| (0..count).map(|_| (random.next_u64() % 50) as u32).collect::<Vec<_>>();
    let (tokens, targets) = (draw(&mut random), draw(&mut random));

    let mut gradient = Gradient::zero(&parameters);
    let model = Model::new(&shape, Precision::F32);
    let loss = model.gradient(&parameters, &tokens, &targets, length, 0.5, &mut gradient).unwrap();

    let vars: Vec<Var> = parameters
        .all
        .iter()
        .map(|p| {
            let t = if p.kind == Kind::Norm { p.values.squeeze(0).unwrap() } else { p.values.clone() };
            Var::from_tensor(&t).unwrap()
        })
        .collect();
    let expected = plain(&shape, &vars, &tokens, &targets, length).unwrap();
    let recorded = (&expected * 0.5).unwrap().backward().unwrap();
    let expected = f64::from(expected.to_scalar::<f32>().unwrap());
    assert!((loss / expected - 1.0).abs() < 1e-5, "{loss} {expected}");
    assert!((model.loss(&parameters, &tokens, &targets, length).unwrap() / loss - 1.0).abs() < 1e-9);
    for ((var, ours), p) in vars.iter().zip(&gradient.0).zip(&parameters.all) {
        let theirs: Vec<f32> = recorded.get(var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let size = theirs.iter().map(|v| v * v).sum::<f32>().sqrt();
        let apart = theirs.iter().zip(ours).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
        assert!(size > 0.0 && apart < 1e-4 * size, "{}: {apart} of {size}", p.parts[0].name);
    }
}

#[test]
fn what_comes_later_changes_nothing_before_it() {
    let shape = shape();
    let parameters = Parameters::random(&shape, 1).unwrap();
    let model = Model::new(&shape, Precision::F32);
    let mut tokens: Vec<u32> = (0..40).map(|i| i * 7 % 50).collect();
    let before = model.logits(&parameters, &tokens, 40).unwrap();
    tokens[30] += 1;
    let after = model.logits(&parameters, &tokens, 40).unwrap();
    assert_eq!(before[..30 * 50], after[..30 * 50]);
    assert_ne!(before[30 * 50..], after[30 * 50..]);
}
