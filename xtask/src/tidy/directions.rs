//! Which crate may depend on which.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use super::Finding;
use crate::Outcome;
use crate::process::root;

const TESTKIT: &str = "florin-testkit";

/// Every package of the workspace with the packages of the workspace that it may use. ARCHITECTURE.md draws the same.
const ALLOWED: &[(&str, &[&str])] = &[
    ("florin-money", &[]),
    ("florin-ledger", &["florin-money"]),
    ("florin-identity", &["florin-money"]),
    ("florin-store", &["florin-ledger", "florin-identity", "florin-money"]),
    ("florin-store-sqlite", &["florin-store", "florin-ledger", "florin-identity", "florin-money"]),
    ("florin-store-postgres", &["florin-store", "florin-ledger", "florin-identity", "florin-money"]),
    ("florin-app", &["florin-store", "florin-ledger", "florin-identity", "florin-money"]),
    ("florin-http", &["florin-app", "florin-ledger", "florin-identity", "florin-money"]),
    (
        "florin",
        &[
            "florin-http",
            "florin-store",
            "florin-store-sqlite",
            "florin-store-postgres",
            "florin-app",
            "florin-ledger",
            "florin-identity",
            "florin-money",
        ],
    ),
    (
        TESTKIT,
        &[
            "florin-http",
            "florin-store",
            "florin-store-sqlite",
            "florin-store-postgres",
            "florin-app",
            "florin-ledger",
            "florin-identity",
            "florin-money",
        ],
    ),
    ("xtask", &[]),
];

/// Crates that decide and never act, and what would let them act.
const PURE: &[&str] = &["florin-money", "florin-ledger", "florin-identity"];
const ACTING: &[&str] = &[
    "tokio",
    "rusqlite",
    "tokio-postgres",
    "deadpool-postgres",
    "axum",
    "hyper",
    "tower",
    "reqwest",
    "getrandom",
    "rustls",
    "tracing",
];

/// One edge of the graph, as declared in a `Cargo.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edge {
    from: String,
    to: String,
    is_dev: bool,
}

/// Checks the declared dependencies of the workspace.
///
/// # Errors
/// When cargo's metadata cannot be had.
pub fn check() -> Outcome<Vec<Finding>> {
    let metadata = MetadataCommand::new().current_dir(root()).no_deps().exec()?;
    let mut manifests = BTreeMap::new();
    let mut edges = Vec::new();
    for package in &metadata.packages {
        let manifest = package.manifest_path.strip_prefix(&metadata.workspace_root)?;
        manifests.insert(package.name.to_string(), manifest.to_string());
        edges.extend(edges_of(package));
    }
    Ok(judge(&manifests, &edges))
}

fn edges_of(package: &Package) -> impl Iterator<Item = Edge> + '_ {
    package.dependencies.iter().map(|dependency| Edge {
        from: package.name.to_string(),
        to: dependency.name.clone(),
        is_dev: dependency.kind == DependencyKind::Development,
    })
}

fn judge(manifests: &BTreeMap<String, String>, edges: &[Edge]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, manifest) in manifests {
        if !ALLOWED.iter().any(|(known, _)| known == name) {
            let what = format!("{name} has no row in the directions: add one to xtask/src/tidy/directions.rs");
            findings.push(Finding::new(manifest, 0, what));
        }
    }
    for edge in edges {
        let Some(manifest) = manifests.get(&edge.from) else { continue };
        if let Some(what) = objection(edge, manifests.contains_key(&edge.to)) {
            findings.push(Finding::new(manifest, 0, what));
        }
    }
    findings
}

fn objection(edge: &Edge, is_ours: bool) -> Option<String> {
    let Edge { from, to, is_dev } = edge;
    if !is_ours {
        let acts = PURE.contains(&from.as_str()) && ACTING.contains(&to.as_str()) && !is_dev;
        return acts.then(|| format!("{from} is pure and must not depend on {to}: move what acts into florin-app"));
    }
    if to == TESTKIT {
        return (!is_dev).then(|| format!("{from} may use {TESTKIT} only under [dev-dependencies]"));
    }
    let allowed = ALLOWED.iter().find(|(known, _)| known == from)?.1;
    let is_allowed = allowed.contains(&to.as_str());
    (!is_allowed).then(|| format!("{from} must not depend on {to}: it may use only [{}]", allowed.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(from: &str, to: &str, is_dev: bool) -> Vec<String> {
        let manifests = ALLOWED.iter().map(|(name, _)| ((*name).to_owned(), format!("{name}/Cargo.toml"))).collect();
        let edges = [Edge { from: from.to_owned(), to: to.to_owned(), is_dev }];
        judge(&manifests, &edges).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn allowed_directions_pass() {
        assert!(findings("florin-app", "florin-store", false).is_empty());
        assert!(findings("florin-http", "florin-testkit", true).is_empty());
        assert!(findings("florin-app", "tokio", false).is_empty());
    }

    #[test]
    fn http_never_reaches_the_store() {
        let found = findings("florin-http", "florin-store", false);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("florin-http/Cargo.toml: florin-http must not depend on florin-store"),
            "{found:?}"
        );
        assert_eq!(findings("florin-http", "florin-store", true).len(), 1, "not in tests either");
    }

    #[test]
    fn engines_do_not_know_each_other_nor_the_app() {
        assert_eq!(findings("florin-store-sqlite", "florin-store-postgres", false).len(), 1);
        assert_eq!(findings("florin-store-postgres", "florin-app", false).len(), 1);
    }

    #[test]
    fn testkit_is_for_tests() {
        assert_eq!(findings("florin-app", "florin-testkit", false).len(), 1);
        assert_eq!(findings("florin-testkit", "florin", false).len(), 1);
    }

    #[test]
    fn pure_crates_do_not_act() {
        assert_eq!(findings("florin-ledger", "tokio", false).len(), 1);
        assert!(findings("florin-ledger", "uuid", false).is_empty());
    }

    #[test]
    fn a_new_crate_needs_a_row() {
        let manifests = BTreeMap::from([("florin-new".to_owned(), "crates/new/Cargo.toml".to_owned())]);
        assert_eq!(judge(&manifests, &[]).len(), 1);
    }
}
