//! Every cell of the table: what each input does in each phase, and that nothing else happens.

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chatwright_core::content::{Output, Part};
use chatwright_core::error::{Kind, Verdict};
use chatwright_core::head::{CallKind, ClientType, KeyHash, Labels, Status, Title, UnitKind};
use chatwright_core::model::FinishReason;
use chatwright_core::record::{Decision, PromptRepaired, ResultOrigin};
use chatwright_core::tool::Effect;
use chatwright_core::{ChatId, MessageId, QueueId, Seq, UserId, Uuid};
use chatwright_engine::{
    Act, Answer, Archive, Busy, Chat, Claim, Clear, Command, Compact, Compacted, Create, Decide, Edit, Free,
    History, Input, Interrupt, Item, Join, NotDone, Parent, Phase, Plan, Planned, Queue, QueueAct, Refused,
    Report, Rules, Scope, Send, Set, Stopped, Submit, Summary, Unarchive, Why, Work, calls, step,
};
use table::*;

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).expect("below the bound")
    }
}

/// What happened in each cell.
#[derive(Default)]
struct Seen {
    outcomes: BTreeMap<(Act, Phase), BTreeSet<Phase>>,
    refusals: BTreeSet<(Act, Phase)>,
}

/// No chat, and rules for it.
fn nothing(steps_max: u32) -> Table {
    let mut table = Table::new();
    (table.chat, table.history) = (None, History::default());
    table.log.clear();
    table.rules = Rules { steps_max, deaths_max: 2, ..Rules::default() };
    table
}

/// A call of each way to answer it: the tool's name says which.
fn named(n: usize, name: &str) -> Part {
    let Part::ToolCall { id, input, provider_executed, metadata, .. } = call(n) else { return call(n) };
    Part::ToolCall { id, name: name.into(), input, provider_executed, metadata }
}

fn plan(content: &[Part]) -> Vec<Planned> {
    let planned = |call: chatwright_engine::Call<'_>| {
        let (input_hash, deadline) = (KeyHash(0), Duration::from_secs(60));
        let run = |effect, approval| Plan::Run {
            name: "t".into(),
            effect,
            deadline,
            input_hash,
            approval,
            resource: None,
            stop_after: false,
        };
        let plan = match call.name {
            "client" => Plan::Client,
            "approval" => run(Effect::Once, true),
            "once" => run(Effect::Once, false),
            "refused" => Plan::Refuse { output: Output::error("no"), origin: ResultOrigin::Refused },
            _ => run(Effect::Pure, false),
        };
        Planned { ordinal: call.ordinal, plan }
    };
    calls(content).map(planned).collect()
}

/// Every input of a row that makes a difference here.
fn inputs(act: Act, table: &mut Table) -> Vec<Input> {
    let holder = table.chat.as_ref().and_then(|chat| chat.head.holder);
    let state = table.chat.as_ref().map(|chat| chat.state.clone()).unwrap_or_default();
    let member = table.chat.as_ref().is_some_and(|chat| chat.head.index.root.is_some());
    let deads = [None, Some(holder.unwrap_or(OTHER))];
    let mut commands: Vec<Command> = Vec::new();
    let mut works: Vec<Work> = Vec::new();
    let mut entries: Vec<QueueId> = state.queue.iter().map(|entry| entry.id).collect();
    // One that is not there.
    entries.push(QueueId::from_uuid(Uuid::from_u128(4)));
    let send = |table: &mut Table, busy| {
        let (message, queue) = (MessageId::from_uuid(table.id()), QueueId::from_uuid(table.id()));
        let content = vec![Part::text("more")];
        deads.map(|dead| {
            let content = content.clone();
            Command::Send(Send {
                content,
                message,
                queue,
                author: None,
                model: None,
                effort: None,
                busy,
                dead,
                key: None,
            })
        })
    };
    let queue = |act: QueueAct| {
        let of = move |id: &QueueId| {
            let act = act.clone();
            deads.map(|dead| Command::Queue(Queue { id: *id, act: act.clone(), dead, key: None }))
        };
        entries.iter().flat_map(of).collect::<Vec<_>>()
    };
    let archive = |stop| {
        let scope = if member { Scope::Member } else { Scope::Family };
        deads.map(|dead| Command::Archive(Archive { scope, stop, dead, key: None }))
    };
    match act {
        Act::Create => {
            for content in [vec![Part::text("hello")], vec![]] {
                for parent in [None, Some(Parent { chat: CHAT, root: CHAT, depth: 0 })] {
                    commands.push(Command::Create(Box::new(Create {
                        owner: UserId::new("ada").expect("short"),
                        organization: None,
                        parent,
                        client_type: ClientType::Api,
                        title: Title::default(),
                        labels: Labels::default(),
                        model: None,
                        effort: None,
                        system: vec![Part::text("Be brief.")],
                        system_id: MessageId::from_uuid(table.id()),
                        content: content.clone(),
                        message: MessageId::from_uuid(table.id()),
                        key: None,
                    })));
                }
            }
        }
        Act::Join => commands.push(Command::Join(Join { child: ChatId::from_uuid(table.id()) })),
        Act::Send => commands.extend(send(table, Busy::Queue)),
        Act::SendInterrupt => commands.extend(send(table, Busy::Interrupt)),
        Act::SendNow => commands.extend(send(table, Busy::Now)),
        Act::Edit => {
            let user = |(seq, item): &(Seq, Item)| matches!(item, Item::User(_)).then_some(*seq);
            let mut seqs: Vec<Seq> = table.history.items().iter().filter_map(user).collect();
            seqs.push(Seq::new(1));
            for seq in seqs {
                let (content, message) = (vec![Part::text("instead")], MessageId::from_uuid(table.id()));
                commands.push(Command::Edit(Edit {
                    seq,
                    content,
                    message,
                    author: None,
                    model: None,
                    effort: None,
                    key: None,
                }));
            }
        }
        Act::QueueRemove => commands.extend(queue(QueueAct::Remove)),
        Act::QueueMove => commands.extend(queue(QueueAct::Move(0))),
        Act::QueueEdit => commands.extend(queue(QueueAct::Edit(vec![Part::text("rather")]))),
        Act::QueueHold => commands.extend(queue(QueueAct::Hold)),
        Act::QueueRelease => commands.extend(queue(QueueAct::Release)),
        Act::QueuePromote => commands.extend(queue(QueueAct::Promote)),
        Act::Interrupt => {
            commands.extend(deads.map(|dead| Command::Interrupt(Interrupt { by: None, dead, key: None })));
        }
        Act::Submit => {
            let open = state.calls.iter().filter(|call| call.kind == CallKind::Client);
            let results = open.map(|call| (call.ordinal, Output::text("done"))).collect();
            commands.push(Command::Submit(Submit { results, key: None }));
        }
        Act::Decide => {
            let ordinal = state.calls.iter().find(|call| call.kind == CallKind::Approval);
            let ordinal = ordinal.map_or(0, |call| call.ordinal);
            for decision in [Decision::Approve { input: None }, Decision::Deny { reason: None }] {
                commands.push(Command::Decide(Decide { ordinal, decision, by: None, key: None }));
            }
        }
        Act::Compact => commands.push(Command::Compact(Compact { by: None, key: None })),
        Act::Clear => commands.push(Command::Clear(Clear { key: None })),
        Act::Archive => commands.extend(archive(false)),
        Act::ArchiveStop => commands.extend(archive(true)),
        Act::ArchiveRest => {
            let (scope, dead) = (Scope::Rest, None);
            commands.push(Command::Archive(Archive { scope, stop: false, dead, key: None }));
        }
        Act::Unarchive => commands.push(Command::Unarchive(Unarchive { member, key: None })),
        Act::Set => {
            let title = Some(Title::new("Engines").expect("short"));
            commands.push(Command::Set(Set { title, ..Set::default() }));
        }
        Act::Claim => {
            let answer = state.calls_in.and_then(|message| table.history.answer(message));
            let plan = answer.map(|answer| plan(&answer.content)).unwrap_or_default();
            let (op, next, calls_in) = (table.op(), table.next(), state.calls_in);
            return vec![Input::Claim(op, Claim { session: ME, calls_in, plan, next })];
        }
        Act::Free => {
            let op = table.op();
            return vec![Input::Free(op, Free { holder: holder.unwrap_or(OTHER) })];
        }
        Act::Expire => return vec![Input::Expire(table.op())],
        Act::Answered => {
            for (content, finish) in [
                (vec![Part::text("hi")], FinishReason::Stop),
                (vec![Part::text("so far")], FinishReason::Length),
                (vec![Part::text("so far")], FinishReason::Pause),
                (vec![], FinishReason::Stop),
                (vec![named(1, "once"), named(2, "pure")], FinishReason::ToolCalls),
                (vec![named(1, "once")], FinishReason::ToolCalls),
                (vec![named(1, "refused")], FinishReason::ToolCalls),
                (vec![named(1, "client")], FinishReason::ToolCalls),
                (vec![named(1, "once"), named(2, "client")], FinishReason::ToolCalls),
                (vec![named(1, "approval"), named(2, "client"), named(3, "pure")], FinishReason::ToolCalls),
            ] {
                let (plan, next) = (plan(&content), table.next());
                works.push(Work::Answered(Box::new(Answer {
                    content,
                    model: next.model.clone(),
                    finish,
                    output_limit: false,
                    report: Report::default(),
                    off: 9,
                    response_id: None,
                    plan,
                    next,
                })));
            }
        }
        Act::Failed => {
            for kind in [Kind::Overloaded, Kind::Auth] {
                let next = table.next();
                let (model, content) = (next.model.clone(), vec![Part::text("ha")]);
                let report = Report { estimated: true, ..Report::default() };
                let results = Vec::new();
                let stopped = Stopped { content, model, report: report.clone(), off: 2, results, next };
                for partial in [None, Some(Box::new(stopped))] {
                    let verdict = Box::new(Verdict::of(kind));
                    works.push(Work::Failed { verdict, report: report.clone(), partial });
                }
            }
        }
        Act::Results => {
            let local = state.calls.iter().filter(|call| call.kind == CallKind::Local);
            let local: Vec<u32> = local.map(|call| call.ordinal).collect();
            for some in [&local[..], &local[..local.len().min(1)]] {
                works.push(table.results(some));
            }
        }
        Act::Retry => works.push(Work::Retry { next: table.next() }),
        Act::Compacted => {
            let (covers_to, from) = (Seq::new(1), Seq::new(2));
            let content = vec![Part::text("They spoke.")];
            let summary = Summary {
                covers_to,
                from,
                content,
                said: Vec::new(),
                tokens_before: None,
                tokens_after: None,
            };
            for summary in [None, Some(summary)] {
                let (report, next) = (Report::default(), table.next());
                works.push(Work::Compacted(Box::new(Compacted { summary, report, off: 0, next })));
            }
        }
        Act::Stopped => {
            let (report, next) = (Report { estimated: true, ..Report::default() }, table.next());
            let (content, model) = (vec![Part::text("half")], next.model.clone());
            let results = Vec::new();
            let stopped = Stopped { content, model, report, off: 4, results, next };
            works.push(Work::Stopped(Box::new(stopped)));
        }
        Act::Repaired => {
            let repairs = [(table.history.through().get(), "[]".into())].into();
            works.push(Work::Repaired(PromptRepaired { rules: 1, repairs }));
        }
        Act::Full => works.push(Work::Full { next: table.next() }),
        Act::Watch => works.push(Work::Watch),
        Act::Release => {
            works.push(Work::Release { off: 0, report: Report::default(), wait: None });
            works.push(Work::Release {
                off: 0,
                report: Report::default(),
                wait: Some(Duration::from_secs(60)),
            });
        }
        _ => panic!("{act:?} has inputs"),
    }
    let command = |command| Input::Command(table.op(), command);
    if !commands.is_empty() {
        return commands.into_iter().map(command).collect();
    }
    let fence = match &table.chat {
        Some(_) => chatwright_engine::Fence { session: holder.unwrap_or(ME), ..table.fence() },
        None => chatwright_engine::Fence { session: ME, epoch: chatwright_core::Epoch::ZERO, r#gen: None },
    };
    works.into_iter().map(|work| Input::Work(table.op(), fence, work)).collect()
}

/// What makes chats of a phase different from each other.
fn sort_of(chat: &Chat) -> String {
    let (state, head) = (&chat.state, &chat.head);
    let open = state.open.as_ref().map(|open| open.kind);
    let calls: Vec<_> = state.calls.iter().map(|call| (call.kind, call.started.is_some())).collect();
    let held: Vec<bool> = state.queue.iter().map(|entry| entry.held).take(2).collect();
    let (archiving, family) = (state.archiving.is_some(), (state.children > 0, head.index.root.is_some()));
    let (waits, last_step) = (state.retry.is_some_and(|retry| retry.at.is_some()), state.steps == 2);
    let phase = Phase::of(Some(chat));
    format!(
        "{phase:?} {:?} {open:?} {calls:?} {held:?} {archiving} {family:?} {waits} {last_step}",
        head.holder
    )
}

/// Feeds every input of every row, and gives those that led somewhere, with the sort of chat that they led to.
fn try_all(table: &mut Table, seen: &mut Seen) -> Vec<(String, Input)> {
    let from = Phase::of(table.chat.as_ref()).expect("a state that steps lead to");
    let archiving = table.chat.as_ref().is_some_and(|chat| chat.state.archiving.is_some());
    // Whatever is waited for is due.
    if let Some(wake_at) = table.chat.as_ref().and_then(|chat| chat.head.wake_at) {
        table.now = table.now.max(wake_at);
    }
    let mut made = Vec::new();
    for &act in Act::ALL {
        for input in inputs(act, table) {
            let cell = act.cell(from);
            let told = format!("{} in {}: {cell:?}", act.name(), from.name());
            match step(table.chat.as_ref(), &input, &table.history, table.now, &table.rules) {
                Ok(stepped) => {
                    let commit = stepped.commit(CHAT, table.chat.as_ref()).expect("within the bounds");
                    let after = Chat::new(CHAT, commit.head().clone()).expect("a state of ours");
                    let to = Phase::of(Some(&after)).unwrap_or_else(|| panic!("{told}: {after:?}"));
                    assert!(act.outcomes(from).contains(&to), "{told}, not {}: {input:?}", to.name());
                    assert!(act.while_archiving() || !archiving, "{told}: the family is being archived");
                    check(&after, &told);
                    seen.outcomes.entry((act, from)).or_default().insert(to);
                    made.push((sort_of(&after), input));
                }
                Err(NotDone::Refused(refused)) => {
                    let why = match &refused {
                        Refused::State { status, expected } => {
                            let status_now = table.chat().state.status;
                            assert!(*status == status_now && !expected.contains(status), "{told}: {refused}");
                            Some(Why::State)
                        }
                        Refused::NotArchived => Some(Why::State),
                        Refused::Archived if archiving && !act.while_archiving() => continue,
                        Refused::Archived => Some(Why::Archived),
                        Refused::NotFound { what: "chat" } => Some(Why::NotFound),
                        Refused::Exists => Some(Why::Exists),
                        // It was about something that is not there.
                        _ => None,
                    };
                    if why.is_some() {
                        assert_eq!(act.refusal(from), why, "{told}: {refused}");
                        seen.refusals.insert((act, from));
                    } else {
                        assert!(!act.outcomes(from).is_empty(), "{told}: {refused}");
                    }
                }
                Err(NotDone::Stale) => {
                    // Where something is under way, it may be something else.
                    if act.outcomes(from).is_empty() {
                        assert_eq!(act.refusal(from), Some(Why::Stale), "{told}");
                        seen.refusals.insert((act, from));
                    }
                }
                Err(error) => panic!("{told}: {error}"),
            }
        }
    }
    made
}

/// What holds of every chat between two commits.
fn check(chat: &Chat, told: &str) {
    let (state, head) = (&chat.state, &chat.head);
    let rests = matches!(state.status, Status::Waiting | Status::Error);
    let idle = rests && state.archiving.is_none();
    assert_eq!(head.wake_at.is_none(), idle, "{told}: a chat is runnable iff something is to be done");
    assert!(!(rests || state.status == Status::RequiresAction) || head.holder.is_none(), "{told}: a holder");
    assert!(head.holder.is_some() || state.open.is_none(), "{told}: an open gen has a writer");
    assert_eq!(
        state.status == Status::Error,
        state.last.as_ref().is_some_and(|last| {
            !["interrupted", "length", "empty", "step_limit", "content_filter", "output_limit"]
                .contains(&&*last.kind)
        }),
        "{told}: an error is kept iff the last turn failed: {:?}",
        state.last
    );
    let waits = state.calls.iter().any(|call| call.kind != CallKind::Local && call.deadline.is_some());
    assert!(state.status != Status::RequiresAction || waits, "{told}: something is waited for");
    assert_eq!(state.calls.is_empty(), state.calls_in.is_none(), "{told}: calls are in a message");
    let compacting = state.open.as_ref().is_some_and(|open| open.kind == UnitKind::Compaction);
    assert!(!compacting || state.compact.is_some(), "{told}: a compaction was asked for");
    assert!(!head.index.archived || state.archiving.is_none(), "{told}: it is archived");
    assert_eq!(head.index.status, state.status, "{told}");
}

#[test]
fn every_input_does_in_every_phase_what_the_table_says_and_nothing_else() {
    let mut seen = Seen::default();
    let mut chance = Chance(8);
    let mut been: BTreeMap<String, usize> = BTreeMap::new();
    for n in 0..100 {
        let mut table = nothing(1 + n % 3);
        for _ in 0..40 {
            // Whither one has been least.
            let made = try_all(&mut table, &mut seen);
            let times = |(sort, _): &(String, Input)| been.get(sort).copied().unwrap_or(0);
            let least = made.iter().map(times).min().unwrap_or(0);
            let made: Vec<_> = made.iter().filter(|made| times(made) == least).collect();
            let (sort, input) = made[chance.below(made.len())].clone();
            *been.entry(sort).or_default() += 1;
            table.made(input);
        }
    }
    let mut missing = Vec::new();
    for &act in Act::ALL {
        for from in Phase::ALL {
            let expected: BTreeSet<Phase> = act.outcomes(from).into_iter().collect();
            let outcomes = seen.outcomes.remove(&(act, from)).unwrap_or_default();
            let never: Vec<&str> = expected.difference(&outcomes).map(|phase| phase.name()).collect();
            if !never.is_empty() {
                missing.push(format!(
                    "{} in {} never leads to {}",
                    act.name(),
                    from.name(),
                    never.join(", ")
                ));
            }
            if act.refusal(from).is_some() && !seen.refusals.contains(&(act, from)) {
                missing.push(format!("{} in {} is never refused", act.name(), from.name()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn a_refusal_names_the_states_that_would_do() {
    let mut table = Table::new();
    let refused =
        table.feed(Input::Command(table_op(), Command::Submit(Submit { results: vec![], key: None })));
    let Err(NotDone::Refused(refused)) = refused else { panic!("{refused:?}") };
    assert_eq!(refused.to_string(), "the chat is running, and this needs it to be requires_action");
    let refused = table.feed(Input::Command(table_op(), Command::Clear(Clear { key: None })));
    let Err(NotDone::Refused(refused)) = refused else { panic!("{refused:?}") };
    assert_eq!(refused.to_string(), "the chat is running, and this needs it to be waiting or error");
}

fn table_op() -> chatwright_core::OpId {
    chatwright_core::OpId::from_uuid(Uuid::from_u128(9_999))
}
