//! For tests: whether a JSON document keeps to one of the schemas in `docs/schemas`.
//!
//! The part of JSON Schema (draft 2020-12) that those files use: `type`, `const`, `enum`, `minimum`, `minLength`,
//! `required`, `properties`, `additionalProperties: false` and `items`. A keyword that is none of these is refused, so that
//! nothing in a schema goes unchecked.

use serde_json::Value;

const IGNORED: [&str; 4] = ["$schema", "$id", "title", "description"];

/// The first place where `document` does not keep to `schema`.
pub fn check(document: &Value, schema: &Value) -> Result<(), String> {
    at("$", document, schema)
}

fn at(place: &str, value: &Value, schema: &Value) -> Result<(), String> {
    let Some(rules) = schema.as_object() else { return Err(format!("{place}: the schema is no object")) };
    for (keyword, rule) in rules {
        let holds = match keyword.as_str() {
            "type" => match rule.as_array() {
                Some(types) => types.iter().any(|name| is(value, name)),
                None => is(value, rule),
            },
            "const" => value == rule,
            "enum" => rule.as_array().is_some_and(|values| values.contains(value)),
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap_or(f64::INFINITY)),
            "minLength" => {
                value.as_str().is_none_or(|text| text.len() as u64 >= rule.as_u64().unwrap_or(u64::MAX))
            }
            "required" => {
                let missing = |name: &&Value| value.get(name.as_str().unwrap_or_default()).is_none();
                !value.is_object()
                    || !rule.as_array().is_some_and(|names| names.iter().any(|name| missing(&name)))
            }
            "properties" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = rule.get(name) {
                        at(&format!("{place}.{name}"), value, schema)?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known =
                    |name: &String| rules.get("properties").is_some_and(|all| all.get(name).is_some());
                rule == &Value::Bool(false) && value.as_object().is_none_or(|object| object.keys().all(known))
            }
            "items" => {
                for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                    at(&format!("{place}[{index}]"), value, rule)?;
                }
                true
            }
            name if IGNORED.contains(&name) => true,
            name => return Err(format!("{place}: the keyword {name} is not checked here")),
        };
        if !holds {
            return Err(format!("{place}: {value} does not keep to {keyword} {rule}"));
        }
    }
    Ok(())
}

fn is(value: &Value, name: &Value) -> bool {
    match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_u64() || value.is_i64(),
        _ => false,
    }
}

#[test]
fn what_does_not_keep_to_a_schema_is_found() {
    use serde_json::json;
    let schema = json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": { "a": { "type": ["integer", "null"], "minimum": 1 }, "b": { "type": "array", "items": { "enum": ["x"] } } },
    });
    assert_eq!(check(&json!({ "a": 1, "b": ["x", "x"] }), &schema), Ok(()));
    assert_eq!(check(&json!({ "a": null }), &schema), Ok(()));
    for bad in [
        json!({}),
        json!({ "a": 0 }),
        json!({ "a": 1.5 }),
        json!({ "a": 1, "c": 1 }),
        json!({ "a": 1, "b": ["y"] }),
        json!([]),
    ] {
        assert!(check(&bad, &schema).is_err(), "{bad}");
    }
    assert!(check(&json!(1), &json!({ "maximum": 3 })).is_err());
}
