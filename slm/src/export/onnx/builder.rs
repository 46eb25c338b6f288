//! Puts a graph together: operations by their results, constants by name.

use super::messages::{
    AttributeProto, DimensionProto, FLOAT, GraphProto, INT, INT64, INTS, NodeProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// A value of the graph: its name.
pub type Value = String;

/// A graph under construction.
#[derive(Default)]
pub struct Builder {
    graph: GraphProto,
}

/// A setting of an operation.
pub enum Setting<'a> {
    /// A whole number.
    Int(&'a str, i64),
    /// Whole numbers.
    Ints(&'a str, &'a [i64]),
}

impl Builder {
    /// An operation with one result, which is given its name.
    pub fn node(&mut self, operator: &str, inputs: &[&Value], settings: &[Setting<'_>]) -> Value {
        let mut outputs = self.nodes(operator, inputs, 1, settings);
        outputs.pop().unwrap_or_default()
    }

    /// An operation with several results.
    pub fn nodes(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        results: usize,
        settings: &[Setting<'_>],
    ) -> Vec<Value> {
        let name = format!("{}_{operator}", self.graph.node.len());
        let output: Vec<Value> = (0..results).map(|i| format!("{name}:{i}")).collect();
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|value| (*value).clone()).collect(),
            output: output.clone(),
            name: Some(name),
            op_type: Some(operator.to_owned()),
            attribute: settings.iter().map(attribute).collect(),
        });
        output
    }

    /// A constant of floats, whose product of dimensions is their number.
    pub fn floats(&mut self, name: &str, dims: &[usize], values: impl IntoIterator<Item = f32>) -> Value {
        self.constant(name, FLOAT, dims, values.into_iter().flat_map(f32::to_le_bytes).collect())
    }

    /// A constant of whole numbers: a scalar where there is one and `dims` is empty.
    pub fn ints(&mut self, name: &str, dims: &[usize], values: &[i64]) -> Value {
        self.constant(name, INT64, dims, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn constant(&mut self, name: &str, kind: i32, dims: &[usize], data: Vec<u8>) -> Value {
        self.graph.initializer.push(TensorProto {
            dims: dims.iter().map(|n| *n as i64).collect(),
            data_type: Some(kind),
            name: Some(name.to_owned()),
            raw_data: Some(data),
        });
        name.to_owned()
    }

    /// What the caller gives. A dimension is a number, or a name for one that differs from call to call.
    pub fn input(&mut self, name: &str, kind: i32, dims: &[&str]) -> Value {
        self.graph.input.push(value_info(name, kind, dims));
        name.to_owned()
    }

    /// Has the caller get `value` under `name`.
    pub fn output(&mut self, value: &Value, name: &str, kind: i32, dims: &[&str]) {
        let named = name.to_owned();
        self.graph.node.push(NodeProto {
            input: vec![value.clone()],
            output: vec![named.clone()],
            name: Some(named),
            op_type: Some("Identity".to_owned()),
            attribute: Vec::new(),
        });
        self.graph.output.push(value_info(name, kind, dims));
    }

    /// The whole graph.
    pub fn finish(mut self, name: &str) -> GraphProto {
        self.graph.name = Some(name.to_owned());
        self.graph
    }
}

fn attribute(setting: &Setting<'_>) -> AttributeProto {
    match *setting {
        Setting::Int(name, i) => {
            AttributeProto { name: Some(name.to_owned()), i: Some(i), ints: Vec::new(), kind: Some(INT) }
        }
        Setting::Ints(name, ints) => {
            AttributeProto { name: Some(name.to_owned()), i: None, ints: ints.to_vec(), kind: Some(INTS) }
        }
    }
}

fn value_info(name: &str, kind: i32, dims: &[&str]) -> ValueInfoProto {
    let dimension = |dim: &&str| match dim.parse::<i64>() {
        Ok(size) => DimensionProto { dim_value: Some(size), dim_param: None },
        Err(_) => DimensionProto { dim_value: None, dim_param: Some((*dim).to_owned()) },
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dimension).collect() };
    let tensor = TensorTypeProto { elem_type: Some(kind), shape: Some(shape) };
    ValueInfoProto { name: Some(name.to_owned()), kind: Some(TypeProto { tensor_type: Some(tensor) }) }
}
