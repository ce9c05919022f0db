//! `docs/contracts.md` names every promise and every test.

use chatwright_conformance as kit;

#[test]
fn the_contracts_page_names_every_clause_of_the_kit() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/contracts.md");
    let page = std::fs::read_to_string(path).expect("the page is in the repository");
    let mut clauses: Vec<(&str, &str)> = Vec::new();
    clauses.extend(kit::chat_store::CLAUSES.iter().map(|clause| (clause.id, clause.name)));
    clauses.extend(kit::session_store::CLAUSES.iter().map(|clause| (clause.id, clause.name)));
    clauses.extend(kit::config_store::CLAUSES.iter().map(|clause| (clause.id, clause.name)));
    clauses.extend(kit::blobs::CLAUSES.iter().map(|clause| (clause.id, clause.name)));
    clauses.extend(kit::ledger::CLAUSES.iter().map(|clause| (clause.id, clause.name)));
    clauses.extend(kit::debug_store::CLAUSES.iter().map(|clause| (clause.id, clause.name)));
    clauses.extend(kit::debug_switches::CLAUSES.iter().map(|clause| (clause.id, clause.name)));
    clauses.extend(kit::bus::CLAUSES.iter().map(|clause| (clause.id, clause.name)));
    clauses.extend(kit::chat_directory::CLAUSES.iter().map(|clause| (clause.id, clause.name)));
    clauses.extend(kit::live_log::CLAUSES.iter().map(|clause| (clause.id, clause.name)));
    clauses.extend(kit::language_model::CLAUSES.iter().map(|clause| (clause.id, clause.name)));
    clauses.extend(kit::model_resolver::CLAUSES.iter().map(|clause| (clause.id, clause.name)));
    clauses.extend(kit::tool::CLAUSES.iter().map(|clause| (clause.id, clause.name)));
    clauses.extend(kit::observer::CLAUSES.iter().map(|clause| (clause.id, clause.name)));
    clauses.extend(kit::http_observer::CLAUSES.iter().map(|clause| (clause.id, clause.name)));
    clauses.extend(kit::clock::CLAUSES.iter().map(|clause| (clause.id, clause.name)));
    clauses.extend(kit::ids::CLAUSES.iter().map(|clause| (clause.id, clause.name)));
    for (id, name) in clauses {
        let (_, number) = id.split_once('.').expect("a prefix and a number");
        let row = page.lines().find(|line| line.contains(&format!("`{name}`")));
        let row = row.unwrap_or_else(|| panic!("{id} {name} is not on the page"));
        assert!(row.starts_with(&format!("| {number} |")), "{name} stands in the row of another promise");
    }
}
