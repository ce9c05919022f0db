use std::time::Duration;

use futures::future::BoxFuture;

use crate::Subject;

/// One promise and its test.
pub struct Clause<P: ?Sized + 'static> {
    /// The number of the promise, for example `store.S1`.
    pub id: &'static str,
    /// The name of the test: the number and the sentence that must be true.
    pub name: &'static str,
    /// The test. It panics if the promise is broken.
    pub check: Check<P>,
}

/// A test of a promise.
pub type Check<P> = for<'a> fn(&'a Subject<P>) -> BoxFuture<'a, ()>;

/// How long a clause may take. A promise that is kept too late is not kept.
const BOUND: Duration = Duration::from_secs(60);

/// Runs a clause on a runtime of its own.
///
/// # Panics
/// If the promise is broken, or its test does not finish within a minute.
pub fn run<P: ?Sized + Send + Sync + 'static>(clause: &Clause<P>, subject: &Subject<P>) {
    println!("{} with CHATWRIGHT_SEED={}", clause.id, subject.chance.seed());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async {
        let done = tokio::time::timeout(BOUND, (clause.check)(subject)).await;
        assert!(done.is_ok(), "{}: not finished within {BOUND:?}", clause.id);
    });
}

/// Declares the clauses of a port: the list of them, and the macro that makes them an implementer's tests.
macro_rules! clauses {
    (($d:tt) $macro:ident in $module:ident: $port:path; $($(#[$doc:meta])* $id:literal $name:ident,)*) => {
        /// Every promise of the port with its test.
        pub const CLAUSES: &[$crate::Clause<dyn $port>] =
            &[$($crate::Clause { id: $id, name: stringify!($name), check: |subject| Box::pin($name(subject)) }),*];

        /// One named test per promise of the port. See the [crate] for its forms.
        #[macro_export]
        macro_rules! $macro {
            (|$d dir:ident| $d connect:expr $d(, $d option:ident)?) => {
                $($crate::$macro!(@test $name |$d dir| $d connect $d(, $d option)?);)*
            };
            (@test $d name:ident |$d dir:ident| $d connect:expr $d(, $d option:ident)?) => {
                #[test]
                fn $d name() {
                    let subject = $crate::Subject::<dyn $port>::new(::std::boxed::Box::new(
                        |$d dir: ::std::path::PathBuf| ::std::boxed::Box::pin(async move {
                            let _ = &$d dir;
                            ::std::sync::Arc::new($d connect) as ::std::sync::Arc<dyn $port>
                        }),
                    ));
                    $d(let subject = subject.$d option();)?
                    let clause = $crate::$module::CLAUSES
                        .iter()
                        .find(|clause| clause.name == stringify!($d name))
                        .expect("every test is a clause");
                    $crate::run(clause, &subject);
                }
            };
            ($d connect:expr $d(, $d option:ident)?) => {
                $crate::$macro!(|_dir| $d connect $d(, $d option)?);
            };
        }
    };
}

pub(crate) use clauses;
