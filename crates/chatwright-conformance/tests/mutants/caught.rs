use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use chatwright_conformance::{Clause, Subject, run};
use futures::future::BoxFuture;

/// Connects to a mutant; the function may share state between connections through what it captured.
pub(crate) type Mutant<P> = Box<dyn Fn() -> Arc<P> + Send + Sync>;

/// Runs one clause against a mutant and gives what it said, or `None` if it passed.
pub(crate) fn verdict<P: ?Sized + Send + Sync + 'static>(
    clause: &Clause<P>,
    mutant: Mutant<P>,
    volatile: bool,
) -> Option<String> {
    let mutant = Arc::new(mutant);
    let connect = move |_: PathBuf| -> BoxFuture<'static, Arc<P>> {
        let mutant = Arc::clone(&mutant);
        Box::pin(async move { (*mutant)() })
    };
    let mut subject = Subject::new(Box::new(connect));
    if volatile {
        subject = subject.volatile();
    }
    let panic = catch_unwind(AssertUnwindSafe(|| run(clause, &subject))).err()?;
    let words = panic.downcast_ref::<String>().cloned();
    Some(words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
}

/// Checks that each mutant is caught by the clause that it is named after, by number, and that every clause catches one.
pub(crate) fn all_are_caught<P: ?Sized + Send + Sync + 'static>(
    clauses: &[Clause<P>],
    mutants: Vec<(&'static str, &'static str, Mutant<P>)>,
) {
    let mut idle: BTreeSet<&str> = clauses.iter().map(|clause| clause.name).collect();
    for (name, broken, mutant) in mutants {
        let clause = clauses.iter().find(|clause| clause.name == name);
        let clause = clause.unwrap_or_else(|| panic!("mutant {broken:?} names no clause: {name}"));
        let words = verdict(clause, mutant, false);
        let words = words.unwrap_or_else(|| panic!("{name} did not catch a store that {broken}"));
        assert!(words.contains(clause.id), "{name} caught a store that {broken}, but said {words:?}");
        idle.remove(name);
    }
    assert!(idle.is_empty(), "clauses that catch no mutant: {idle:?}");
}

/// The same, four at a time: for mutants that a clause catches by waiting for what never comes.
pub(crate) fn all_are_caught_at_once<P: ?Sized + Send + Sync + 'static>(
    clauses: &[Clause<P>],
    mutants: Vec<(&'static str, &'static str, Mutant<P>)>,
) {
    let names: BTreeSet<&str> = mutants.iter().map(|(name, ..)| *name).collect();
    let idle = clauses.iter().map(|clause| clause.name).filter(|name| !names.contains(name));
    assert_eq!(idle.collect::<Vec<_>>(), [""; 0], "clauses that catch no mutant");
    let mutants = parking_lot::Mutex::new(mutants.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let next = mutants.lock().next();
                    let Some((name, broken, mutant)) = next else { return };
                    let clause: Vec<Clause<P>> = clauses
                        .iter()
                        .filter(|clause| clause.name == name)
                        .map(|Clause { id, name, check }| Clause { id, name, check: *check })
                        .collect();
                    all_are_caught(&clause, vec![(name, broken, mutant)]);
                }
            });
        }
    });
}
