//! The promises of [`Ids`].
//!
//! Two connections are two instances, which must not meet. Ids from a fixed seed say `volatile`: each of their
//! instances begins anew, and only one is looked at.

use std::collections::BTreeSet;
use std::sync::Arc;

use chatwright_core::Uuid;
use chatwright_core::port::Ids;

use crate::Subject;
use crate::clause::clauses;
use crate::wait::on_threads;

clauses! {
    ($) ids in ids: chatwright_core::port::Ids;
    "ids.I1" i1_no_id_is_given_twice,
    "ids.I1" i1_no_id_is_given_twice_by_two_instances,
    "ids.I2" i2_ids_are_version_7_uuids,
}

const COUNT: usize = 20_000;

/// The ids of these instances, each asked by two threads at once.
fn given(instances: &[Arc<dyn Ids>], clause: &str) -> Vec<Uuid> {
    let work = |n: usize| {
        let ids = Arc::clone(&instances[n % instances.len()]);
        Box::new(move || (0..COUNT).map(|_| ids.uuid()).collect()) as Box<dyn FnOnce() -> Vec<Uuid> + Send>
    };
    on_threads(clause, (0..instances.len() * 2).map(work)).concat()
}

fn check(given: &[Uuid], clause: &str) {
    let distinct: BTreeSet<_> = given.iter().collect();
    assert_eq!(distinct.len(), given.len(), "{clause}: distinct ids among those given");
}

async fn i1_no_id_is_given_twice(subject: &Subject<dyn Ids>) {
    const CLAUSE: &str = "ids.I1";
    check(&given(&[subject.connect().await], CLAUSE), CLAUSE);
}

async fn i1_no_id_is_given_twice_by_two_instances(subject: &Subject<dyn Ids>) {
    const CLAUSE: &str = "ids.I1";
    if subject.is_volatile() {
        println!("{CLAUSE}: not checked between two instances, each begins anew");
        return;
    }
    check(&given(&[subject.connect().await, subject.connect().await], CLAUSE), CLAUSE);
}

async fn i2_ids_are_version_7_uuids(subject: &Subject<dyn Ids>) {
    const CLAUSE: &str = "ids.I2";
    let ids = subject.connect().await;
    for _ in 0..1_000 {
        let id = ids.uuid();
        assert_eq!(id.get_version_num(), 7, "{CLAUSE}: the version of {id}");
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122, "{CLAUSE}: the variant of {id}");
    }
}
