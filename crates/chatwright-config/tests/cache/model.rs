//! Random schedules of reads, cancellations, answers, invalidations and time, against what must hold after each step.

use std::time::Duration;

use chatwright_config::{FillError, Policy};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance};

use crate::common::*;

const KEYS: u32 = 3;
const STALE: Duration = Duration::from_secs(30);
const NEGATIVE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
enum Op {
    Read(u32),
    /// Drops the callers that still wait.
    Cancel,
    /// Ends one of the running fills.
    Answer(usize, End),
    Invalidate(u32),
    InvalidateAll,
    Advance(Duration),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Found,
    Nothing,
    Failed,
    Panicked,
}

fn op() -> impl Strategy<Value = Op> {
    let end = prop_oneof![4 => Just(End::Found), 1 => Just(End::Nothing), 1 => Just(End::Failed), 1 => Just(End::Panicked)];
    let time = prop_oneof![
        (1..1_500_u64).prop_map(Duration::from_millis),
        (1..20_u64).prop_map(Duration::from_secs),
        Just(TTL),
    ];
    prop_oneof![
        8 => (0..KEYS).prop_map(Op::Read),
        1 => Just(Op::Cancel),
        6 => (0..4_usize, end).prop_map(|(n, end)| Op::Answer(n, end)),
        2 => (0..KEYS).prop_map(Op::Invalidate),
        1 => Just(Op::InvalidateAll),
        4 => time.prop_map(Op::Advance),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let refresh = proptest::option::of(Just(50_u8));
    let (stale, negative) = (proptest::option::of(Just(STALE)), proptest::option::of(Just(NEGATIVE)));
    (refresh, stale, negative, 1..4_usize, 1..4_usize, 0..=10_u8).prop_map(
        |(refresh_ahead, stale_if_error, negative, entries_max, fills_max, jitter_percent)| {
            let mut policy = exact();
            (policy.refresh_ahead, policy.stale_if_error, policy.negative) =
                (refresh_ahead, stale_if_error, negative);
            (policy.entries_max, policy.fills_max, policy.jitter_percent) =
                (entries_max, fills_max, jitter_percent);
            policy
        },
    )
}

/// A fill as the source saw it. Its value is its number.
struct Fill {
    key: u32,
    began: u64,
    call: Option<Call>,
    ended: Option<(Instant, End)>,
}

struct Read {
    key: u32,
    /// When the last invalidation of the key had ended, before the read.
    floor: u64,
    got: Got,
    at: Instant,
}

struct World {
    policy: Policy,
    cache: Config,
    calls: Calls,
    /// Counts what must be told apart in time.
    step: u64,
    fills: Vec<Fill>,
    floors: [u64; KEYS as usize],
    reads: JoinSet<Read>,
}

impl World {
    fn new(policy: Policy) -> Self {
        let (cache, calls) = cache(policy);
        Self {
            policy,
            cache,
            calls,
            step: 1,
            fills: Vec::new(),
            floors: [0; KEYS as usize],
            reads: JoinSet::new(),
        }
    }

    async fn apply(&mut self, op: Op) {
        match op {
            Op::Read(key) => {
                let (cache, floor) = (self.cache.clone(), self.floors[key as usize]);
                self.reads.spawn(async move {
                    let got = cache.get(&key).await;
                    Read { key, floor, got, at: Instant::now() }
                });
            }
            Op::Cancel => self.reads.abort_all(),
            Op::Answer(n, end) => {
                self.settle().await;
                let running = self.fills.iter().enumerate().filter(|(_, fill)| fill.call.is_some());
                if let Some((number, _)) = running.cycle().take(16).nth(n) {
                    self.answer(number, end).await;
                }
            }
            Op::Invalidate(key) => {
                self.settle().await;
                self.cache.invalidate(&key);
                self.invalidated(key);
            }
            Op::InvalidateAll => {
                self.settle().await;
                self.cache.invalidate_all();
                (0..KEYS).for_each(|key| self.invalidated(key));
            }
            Op::Advance(time) => {
                self.settle().await;
                advance(time).await;
                self.settle().await;
            }
        }
    }

    fn invalidated(&mut self, key: u32) {
        self.step += 1;
        self.floors[key as usize] = self.step;
        assert_eq!(self.cache.peek(&key), None);
    }

    async fn answer(&mut self, number: usize, end: End) {
        let fill = &mut self.fills[number];
        let call = fill.call.take().expect("the fill runs");
        match end {
            End::Found => call.found(number as u32),
            End::Nothing => call.answer(Ok(None)),
            End::Failed => call.answer(Err(Broken("down"))),
            End::Panicked => call.panic(),
        }
        fill.ended = Some((Instant::now(), end));
        let (key, wanted) = (fill.key, fill.began > self.floors[fill.key as usize]);
        let before = self.cache.peek(&key);
        self.settle().await;
        let after = self.cache.peek(&key).as_deref().copied();
        let expected = match end {
            End::Found if wanted => Some(number as u32),
            End::Nothing if wanted => None,
            _ => before.as_deref().copied(),
        };
        assert_eq!(after, expected, "what was found is stored, if it is wanted");
    }

    /// Lets everything go as far as it can, and checks what can be seen then.
    async fn settle(&mut self) {
        settle().await;
        while let Some(call) = self.calls.try_next() {
            self.step += 1;
            self.fills.push(Fill { key: call.key, began: self.step, call: Some(call), ended: None });
        }
        for fill in &mut self.fills {
            if fill.call.take_if(|call| call.is_over()).is_some() {
                fill.ended = Some((Instant::now(), End::Failed));
            }
        }
        let running = || self.fills.iter().filter(|fill| fill.call.is_some());
        assert!(running().count() <= self.policy.fills_max);
        for key in 0..KEYS {
            let wanted = |fill: &&Fill| fill.key == key && fill.began > self.floors[key as usize];
            assert!(running().filter(wanted).count() <= 1, "one fill of a key is wanted at a time");
        }
        assert!(self.cache.len() <= self.policy.entries_max);
        while let Some(read) = self.reads.try_join_next() {
            match read {
                Ok(read) => self.check(read),
                Err(error) => assert!(error.is_cancelled(), "{error}"),
            }
        }
    }

    fn check(&self, Read { key, floor, got, at }: Read) {
        let of_key = || self.fills.iter().filter(|fill| fill.key == key);
        let failed_since = |time| {
            of_key().filter_map(|fill| fill.ended).any(|(ended, end)| {
                matches!(end, End::Failed | End::Panicked) && ended >= time && ended <= at
            })
        };
        match got {
            Ok(Some(number)) => {
                let fill = &self.fills[*number as usize];
                assert!(fill.key == key && fill.began > floor, "a value from before an invalidation");
                let (ended, end) = fill.ended.expect("only a fill that ended gives a value");
                assert!(matches!(end, End::Found));
                let tolerated = self.policy.stale_if_error.filter(|_| failed_since(ended));
                assert!(at - ended < TTL + tolerated.unwrap_or_default(), "a value that is too old");
            }
            Ok(None) => {
                let most = self.policy.negative.unwrap_or_default();
                let said_so = of_key().any(|fill| {
                    let ended = fill.ended.filter(|(_, end)| matches!(end, End::Nothing));
                    fill.began > floor && ended.is_some_and(|(ended, _)| ended == at || at - ended < most)
                });
                assert!(said_so, "the source did not say that there is nothing");
            }
            Err(FillError::Closed) => panic!("nobody closed the cache"),
            Err(_) => assert!(failed_since(at), "a failure that was kept"),
        }
    }

    /// Nobody waits for ever.
    async fn end(mut self) {
        for _ in 0..1_000 {
            self.settle().await;
            let running = self.fills.iter().position(|fill| fill.call.is_some());
            match running {
                Some(number) => self.answer(number, End::Found).await,
                None if self.reads.is_empty() => return,
                None => {}
            }
        }
        panic!("{} reads wait for nothing", self.reads.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_schedule_breaks_a_promise(policy in policy(), ops in vec(op(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let mut world = World::new(policy);
            for op in ops {
                world.apply(op).await;
            }
            world.end().await;
        });
    }
}
