//! The table in `docs/chat-states.md` is the engine's. `GOLDEN=write cargo test -p chatwright-engine` writes it.

use std::fmt::Write as _;
use std::path::PathBuf;

use chatwright_engine::{Act, Phase};

const BEGIN: &str = "<!-- The table is written by a test of chatwright-engine. -->\n";
const END: &str = "<!-- Here it ends. -->\n";

fn table() -> String {
    let mut text = String::from("\n| |");
    let line = |text: &mut String, words: &str| writeln!(text, "{words}").expect("text grows");
    for phase in Phase::ALL {
        write!(text, " {} |", phase.name()).expect("text grows");
    }
    line(&mut text, "");
    line(&mut text, &format!("|---|{}", "---|".repeat(Phase::ALL.len())));
    for &act in Act::ALL {
        write!(text, "| {} |", act.name()).expect("text grows");
        for phase in Phase::ALL {
            write!(text, " {} |", act.cell(phase).replace(' ', "<br>")).expect("text grows");
        }
        line(&mut text, "");
    }
    line(&mut text, "\n| row | what it is | while the family is being archived |");
    line(&mut text, "|---|---|---|");
    for &act in Act::ALL {
        let archiving = if act.while_archiving() { "as ever" } else { "refused: archived" };
        line(&mut text, &format!("| {} | {} | {archiving} |", act.name(), act.meaning().trim()));
    }
    text.push('\n');
    text
}

#[test]
fn the_documented_table_is_the_engines() {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "..", "docs", "chat-states.md"].iter().collect();
    let file = std::fs::read_to_string(&path).expect("the document is there");
    let (before, rest) = file.split_once(BEGIN).expect("it has a place for the table");
    let (written, after) = rest.split_once(END).expect("the table ends");
    if std::env::var("GOLDEN").is_ok_and(|word| word == "write") {
        let file = format!("{before}{BEGIN}{}{END}{after}", table());
        std::fs::write(&path, file).expect("the document can be written");
        return;
    }
    assert!(written == table(), "docs/chat-states.md has another table: write it with GOLDEN=write");
}
