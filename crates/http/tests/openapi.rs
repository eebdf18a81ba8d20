//! The document says what the router does: no route without a description, no description without a route.

#![expect(clippy::unwrap_used, reason = "what a test cannot read or prepare has failed it")]

use std::collections::BTreeSet;

use florin_http::{openapi, routes};
use serde_json::Value;

fn documented() -> BTreeSet<(String, String)> {
    let document = openapi();
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let path = path.trim_end_matches('/').to_owned();
            item.as_object().unwrap().keys().map(move |method| (path.clone(), method.to_uppercase()))
        })
        .collect()
}

#[test]
fn every_route_is_documented_and_every_documented_route_is_there() {
    let served: BTreeSet<(String, String)> = routes()
        .into_iter()
        .flat_map(|(path, allow)| {
            let methods = allow.split(", ").filter(|method| !matches!(*method, "HEAD" | "OPTIONS"));
            methods.map(move |method| (path.to_owned(), method.to_owned()))
        })
        .collect();
    assert_eq!(documented(), served);
}

#[test]
fn the_document_is_whole() {
    let document = openapi();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let mut seen = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name}: summary");
            let answers = operation["responses"].as_object().unwrap();
            if operation.get("security").is_some() {
                assert!(answers.contains_key("401"), "{name}: 401");
            }
            if path.starts_with("/api") {
                assert!(answers.contains_key("503"), "{name}: 503");
            }
            assert!(seen.insert(operation["operationId"].to_string()), "{name}: operationId");
        }
    }
    assert!(seen.len() > 35, "{}", seen.len());
}

#[test]
fn every_reference_leads_somewhere() {
    fn visit(value: &Value, document: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                members.values().for_each(|value| visit(value, document));
            }
            Value::Array(items) => items.iter().for_each(|value| visit(value, document)),
            _ => {}
        }
    }
    let document = openapi();
    visit(&document, &document);
}
