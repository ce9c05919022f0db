//! The arrows between crates are the ones that `docs/architecture.md` draws.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{CargoOpt, DependencyKind, MetadataCommand, Package};

/// Which of our crates each crate may use, dev-dependencies apart.
const ARROWS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("retry", &["error"]),
    ("core", &["error"]),
    ("config", &["core"]),
    ("engine", &["core", "error", "retry"]),
    ("loop", &["core", "engine", "retry", "config", "error"]),
    ("debug", &["core"]),
    ("relay", &["core"]),
    ("providers", &["core"]),
    ("memory", &["core"]),
    ("sqlite", &["core"]),
    ("postgres", &["core"]),
    ("conformance", &["core"]),
    ("fake", &["core"]),
    ("server", &["core", "loop", "relay", "debug"]),
];

/// Crates that decide and do nothing else: no runtime, no clock, no randomness.
const PURE: &[&str] = &["error", "engine"];
const IMPURE: &[&str] =
    &["tokio", "futures", "async-trait", "rand", "fastrand", "getrandom", "reqwest", "rusqlite"];

fn packages() -> Vec<Package> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let mut command = MetadataCommand::new();
    command.manifest_path(manifest).no_deps().features(CargoOpt::AllFeatures);
    let metadata = command.exec().expect("cargo metadata runs");
    metadata.packages.into_iter().filter(|package| package.publish.is_none()).collect()
}

fn used(package: &Package) -> BTreeSet<String> {
    let normal =
        package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
    normal.map(|dependency| dependency.name.clone()).collect()
}

fn ours(package: &Package) -> BTreeSet<String> {
    used(package).iter().filter_map(|name| name.strip_prefix("chatwright-")).map(str::to_owned).collect()
}

#[test]
fn crates_use_only_the_crates_that_the_house_allows() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let packages = packages();
    assert!(packages.len() >= 6, "the workspace was found");
    for package in &packages {
        // The facade may use every published crate.
        let Some(name) = package.name.strip_prefix("chatwright-") else { continue };
        let allowed =
            arrows.get(name).unwrap_or_else(|| panic!("{} has no place in the house", package.name));
        for used in ours(package) {
            assert!(allowed.contains(&&*used), "chatwright-{name} must not use chatwright-{used}");
        }
    }
}

#[test]
fn pure_crates_have_nothing_to_be_impure_with() {
    for package in packages() {
        let Some(name) = package.name.strip_prefix("chatwright-") else { continue };
        if PURE.contains(&name) {
            let impure: Vec<_> =
                used(&package).into_iter().filter(|used| IMPURE.contains(&&**used)).collect();
            assert_eq!(impure, Vec::<String>::new(), "chatwright-{name} must stay pure");
        }
    }
}

#[test]
fn the_engine_sees_only_the_pure_half_of_retry() {
    let packages = packages();
    let engine = packages.iter().find(|package| package.name == "chatwright-engine").expect("there is one");
    let retry = engine.dependencies.iter().find(|dependency| dependency.name == "chatwright-retry");
    let retry = retry.expect("it decides with it");
    assert!(!retry.uses_default_features && retry.features.is_empty(), "{:?}", retry.features);
}

#[test]
fn the_kit_and_the_fakes_never_reach_a_hosts_production_build() {
    for package in packages() {
        for name in ["conformance", "fake", "memory"] {
            let allowed = package.name.as_str() == "chatwright";
            assert!(allowed || !ours(&package).contains(name), "{} ships chatwright-{name}", package.name);
        }
    }
}

#[test]
fn every_crate_shares_version_licence_and_lints() {
    let packages = packages();
    let first = &packages[0];
    for package in &packages {
        assert_eq!(package.version, first.version, "{}", package.name);
        assert_eq!(package.license.as_deref(), Some("MIT OR Apache-2.0"), "{}", package.name);
        assert!(package.description.is_some(), "{} says what it is", package.name);
        let manifest = std::fs::read_to_string(&package.manifest_path).expect("a manifest");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} shares the lints", package.name);
    }
}
