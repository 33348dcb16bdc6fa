//! Vectors captured from official programs, and what the tests read them with.
#![allow(dead_code, reason = "each test file uses its part")]

use serde_json::Value;

pub fn vectors(name: &str) -> Value {
    let path = format!(
        "{}/../../tests/vectors/data/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub fn unhex(text: &Value) -> Vec<u8> {
    hex(text.as_str().unwrap())
}

pub fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

pub fn key(text: &Value) -> ginnel_derp::Key {
    unhex(text).try_into().unwrap()
}
