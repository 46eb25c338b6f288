//! The llama family as a graph of standard operators (opset 17): the same steps as [`crate::forward`].
//!
//! In goes `input_ids`, `[batch, sequence]` of 64-bit integers; out come `logits`, `[batch, sequence, vocabulary]`. Batch and
//! sequence differ from call to call; a sequence longer than the model's context is refused by the look-up of its
//! rotations. Every sequence is read from its beginning: there is no cache.

use anyhow::Result;

use super::builder::{Builder, Setting, Value};
use super::messages::{FLOAT, GraphProto, INT64};
use crate::export::gguf::EPSILON;
use crate::shape::Shape;
use crate::trained::{self, BLOCK_MATRICES, BLOCK_NORMS, Trained};

/// The smallest float: behind it, softmax gives nothing.
const UNSEEN: f32 = f32::MIN;

/// The graph of a model, its weights inside.
pub fn graph(model: &Trained) -> Result<GraphProto> {
    let mut graph = Graph::new(&model.shape);
    let embedding = graph.weights(model, trained::EMBEDDING)?;
    let ids = graph.builder.input("input_ids", INT64, &["batch", "sequence"]);
    graph.look_up_positions(&ids, &model.shape);
    let mut x = graph.node("Gather", &[&embedding, &ids]);
    for layer in 0..model.shape.layers as usize {
        let norm = |i: usize| trained::in_block(layer, BLOCK_NORMS[i].0);
        let mut matrices = Vec::new();
        for (name, _) in BLOCK_MATRICES {
            matrices.push(graph.transposed(model, &trained::in_block(layer, name))?);
        }
        let [q, k, v, o, gate, up, down] = &matrices[..] else { break };
        let input = graph.normed(&x, model, &norm(0))?;
        let attended = graph.attended(&input, [q, k, v]);
        let change = graph.node("MatMul", &[&attended, o]);
        x = graph.node("Add", &[&x, &change]);
        let input = graph.normed(&x, model, &norm(1))?;
        let gated = graph.gated(&input, gate, up);
        let change = graph.node("MatMul", &[&gated, down]);
        x = graph.node("Add", &[&x, &change]);
    }
    let last = graph.normed(&x, model, trained::LAST_NORM)?;
    let head = if model.shape.tied_embeddings {
        graph.builder.node("Transpose", &[&embedding], &[Setting::Ints("perm", &[1, 0])])
    } else {
        graph.transposed(model, trained::HEAD)?
    };
    let logits = graph.node("MatMul", &[&last, &head]);
    let vocabulary = model.shape.vocabulary.to_string();
    graph.builder.output(&logits, "logits", FLOAT, &["batch", "sequence", &vocabulary]);
    Ok(graph.builder.finish(&model.shape.name))
}

/// The builder, with the values that all blocks share.
struct Graph {
    builder: Builder,
    epsilon: Value,
    scale: Value,
    /// Sizes `[pairs, pairs]`, to split a head.
    halves: Value,
    /// `[0, 0, heads, dim]` and the like: how heads are taken apart and put together again.
    query_heads: Value,
    kv_heads: Value,
    grouped: Value,
    joined: Value,
    third: Value,
    cos: Value,
    sin: Value,
    mask: Value,
}

impl Graph {
    fn new(shape: &Shape) -> Graph {
        let [heads, kv_heads, dim] = [shape.heads, shape.kv_heads, shape.head_dim()].map(|n| n as i64);
        let mut builder = Builder::default();
        let mut ints = |name: &str, values: &[i64]| builder.ints(name, &[values.len()], values);
        Graph {
            halves: ints("halves", &[dim / 2, dim / 2]),
            // In a shape, 0 keeps the size that is there, -1 takes the rest.
            query_heads: ints("query_heads", &[0, 0, heads, dim]),
            kv_heads: ints("kv_heads", &[0, 0, kv_heads, dim]),
            grouped: ints("grouped", &[0, kv_heads, heads / kv_heads, -1, dim]),
            joined: ints("joined", &[0, 0, heads * dim]),
            third: ints("third", &[2]),
            epsilon: builder.floats("epsilon", &[], [EPSILON]),
            scale: builder.floats("scale", &[], [1.0 / (dim as f32).sqrt()]),
            builder,
            cos: Value::new(),
            sin: Value::new(),
            mask: Value::new(),
        }
    }

    /// An operation without settings.
    fn node(&mut self, operator: &str, inputs: &[&Value]) -> Value {
        self.builder.node(operator, inputs, &[])
    }

    fn weights(&mut self, model: &Trained, name: &str) -> Result<Value> {
        let matrix = model.tensor(name)?;
        let dims = if matrix.rows == 1 { vec![matrix.columns] } else { vec![matrix.rows, matrix.columns] };
        Ok(self.builder.floats(name, &dims, matrix.values.iter().copied()))
    }

    /// A matrix as `[in, out]`.
    fn transposed(&mut self, model: &Trained, name: &str) -> Result<Value> {
        let matrix = model.tensor(name)?;
        let rows = matrix.values.chunks_exact(matrix.columns.max(1));
        let columns =
            (0..matrix.columns).flat_map(|c| rows.clone().filter_map(move |row| row.get(c).copied()));
        Ok(self.builder.floats(&format!("{name}.T"), &[matrix.columns, matrix.rows], columns))
    }

    /// Rotations `[sequence, pairs]` and the mask `[sequence, sequence]`.
    fn look_up_positions(&mut self, ids: &Value, shape: &Shape) {
        let (context, pairs) = (shape.context as usize, shape.head_dim() as usize / 2);
        let b = &mut self.builder;
        let angle = |i: usize| {
            let (position, pair) = (i / pairs, i % pairs);
            position as f64 * shape.rope_base.powf(-(pair as f64) / pairs as f64)
        };
        let cos = b.floats("cosines", &[context, pairs], (0..context * pairs).map(|i| angle(i).cos() as f32));
        let sin = b.floats("sines", &[context, pairs], (0..context * pairs).map(|i| angle(i).sin() as f32));
        let [zero, one] = [("zero", 0), ("one", 1)].map(|(name, value)| b.ints(name, &[], &[value]));
        let [first, second] = [("first", 0), ("second", 1)].map(|(name, axis)| b.ints(name, &[1], &[axis]));
        let sizes = b.node("Shape", &[ids], &[]);
        let length = b.node("Gather", &[&sizes, &one], &[]);
        let positions = b.node("Range", &[&zero, &length, &one], &[]);
        self.cos = b.node("Gather", &[&cos, &positions], &[]);
        self.sin = b.node("Gather", &[&sin, &positions], &[]);
        let later = b.node("Unsqueeze", &[&positions, &first], &[]);
        let own = b.node("Unsqueeze", &[&positions, &second], &[]);
        let hidden = b.node("Greater", &[&later, &own], &[]);
        let [unseen, seen] = [("unseen", UNSEEN), ("seen", 0.0)].map(|(name, v)| b.floats(name, &[], [v]));
        self.mask = b.node("Where", &[&hidden, &unseen, &seen], &[]);
    }

    fn normed(&mut self, x: &Value, model: &Trained, name: &str) -> Result<Value> {
        let weights = self.weights(model, name)?;
        let squares = self.node("Mul", &[x, x]);
        let mean = self.builder.node(
            "ReduceMean",
            &[&squares],
            &[Setting::Ints("axes", &[-1]), Setting::Int("keepdims", 1)],
        );
        let epsilon = self.epsilon.clone();
        let above = self.node("Add", &[&mean, &epsilon]);
        let root = self.node("Sqrt", &[&above]);
        let even = self.node("Div", &[x, &root]);
        Ok(self.node("Mul", &[&even, &weights]))
    }

    /// `[batch, heads, sequence, dim]` of `input` times a matrix.
    fn heads(&mut self, input: &Value, matrix: &Value, shape: &Value) -> Value {
        let product = self.node("MatMul", &[input, matrix]);
        let apart = self.node("Reshape", &[&product, shape]);
        self.builder.node("Transpose", &[&apart], &[Setting::Ints("perm", &[0, 2, 1, 3])])
    }

    fn rotated(&mut self, heads: &Value) -> Value {
        let (halves, cos, sin) = (self.halves.clone(), self.cos.clone(), self.sin.clone());
        let parts = self.builder.nodes("Split", &[heads, &halves], 2, &[Setting::Int("axis", -1)]);
        let [a, b] = &parts[..] else { return Value::new() };
        let [ac, bs, as_, bc] =
            [(a, &cos), (b, &sin), (a, &sin), (b, &cos)].map(|(half, turn)| self.node("Mul", &[half, turn]));
        let (first, second) = (self.node("Sub", &[&ac, &bs]), self.node("Add", &[&as_, &bc]));
        self.builder.node("Concat", &[&first, &second], &[Setting::Int("axis", -1)])
    }

    /// Each head's mean of the values, `[batch, sequence, heads * dim]`. Query heads are grouped by the key and value
    /// head that they share: `[batch, kv heads, heads of each, sequence, dim]`.
    fn attended(&mut self, input: &Value, [q, k, v]: [&Value; 3]) -> Value {
        let (query_heads, kv_heads, grouped) =
            (self.query_heads.clone(), self.kv_heads.clone(), self.grouped.clone());
        let (third, scale, mask, joined) =
            (self.third.clone(), self.scale.clone(), self.mask.clone(), self.joined.clone());
        let q = self.heads(input, q, &query_heads);
        let q = self.rotated(&q);
        let q = self.node("Reshape", &[&q, &grouped]);
        let k = self.heads(input, k, &kv_heads);
        let k = self.rotated(&k);
        let k = self.node("Unsqueeze", &[&k, &third]);
        let k = self.builder.node("Transpose", &[&k], &[Setting::Ints("perm", &[0, 1, 2, 4, 3])]);
        let v = self.heads(input, v, &kv_heads);
        let v = self.node("Unsqueeze", &[&v, &third]);
        let scores = self.node("MatMul", &[&q, &k]);
        let scores = self.node("Mul", &[&scores, &scale]);
        let scores = self.node("Add", &[&scores, &mask]);
        let weights = self.builder.node("Softmax", &[&scores], &[Setting::Int("axis", -1)]);
        let means = self.node("MatMul", &[&weights, &v]);
        let means = self.builder.node("Transpose", &[&means], &[Setting::Ints("perm", &[0, 3, 1, 2, 4])]);
        self.node("Reshape", &[&means, &joined])
    }

    fn gated(&mut self, input: &Value, gate: &Value, up: &Value) -> Value {
        let gate = self.node("MatMul", &[input, gate]);
        let open = self.node("Sigmoid", &[&gate]);
        let silu = self.node("Mul", &[&gate, &open]);
        let up = self.node("MatMul", &[input, up]);
        self.node("Mul", &[&silu, &up])
    }
}
