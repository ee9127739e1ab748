//! Builds as the activities of Nix's `--log-format internal-json`, which programs read: one object a line, `start`, `result`
//! and `stop` by number. The numbers of kinds are those of the daemon's protocol.

use formats::store_path::StorePath;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use store::build::{Event, Progress};

/// Kinds of activities.
const COPY_PATHS: u64 = 103;
const REALISE: u64 = 102;
const BUILDS: u64 = 104;
const BUILD: u64 = 105;
const SUBSTITUTE: u64 = 108;
const HOOK: u64 = 110;
/// Kinds of results.
const LOG_LINE: u64 = 101;
const SET_PHASE: u64 = 104;
const PROGRESS: u64 = 105;
const SET_EXPECTED: u64 = 106;
const HOOK_LINE: u64 = 107;

/// What stays the same for a whole plan.
#[derive(Debug, Default)]
struct Count {
    activity: u64,
    done: usize,
    expected: usize,
    running: usize,
    failed: usize,
}

impl Count {
    fn result(&self) -> Value {
        let fields = [self.done, self.expected, self.running, self.failed];
        json!({"action": "result", "id": self.activity, "type": PROGRESS, "fields": fields})
    }
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    realise: u64,
    builds: Count,
    copies: Count,
    /// What runs: its activity, whether it is a download, its hook's activity.
    running: BTreeMap<StorePath, (u64, bool, Option<u64>)>,
}

/// Writes the activities.
#[derive(Debug)]
pub(super) struct InternalJson {
    store_dir: String,
    state: Mutex<State>,
}

impl InternalJson {
    /// `store_dir` stands before store paths.
    pub(super) fn new(store_dir: String) -> Self {
        let next = u64::from(std::process::id()) << 32;
        Self { store_dir, state: Mutex::new(State { next, ..State::default() }) }
    }

    /// The objects that an event is.
    fn objects(&self, event: &Event<'_>) -> Vec<Value> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        match event {
            Event::Planned { builds, fetches } => {
                let mut objects = Vec::new();
                state.realise = state.start(&mut objects, 0, REALISE, "", None);
                let activity = state.start(&mut objects, 0, BUILDS, "", None);
                state.builds = Count { activity, expected: *builds, ..Count::default() };
                let activity = state.start(&mut objects, 0, COPY_PATHS, "", None);
                state.copies = Count { activity, expected: *fetches, ..Count::default() };
                state.counts(&mut objects);
                objects
            }
            Event::Started { derivation, fetch } => self.started(state, derivation, *fetch),
            Event::Line { derivation, line } => state.result_of(derivation, LOG_LINE, line),
            Event::Phase { derivation, phase } => state.result_of(derivation, SET_PHASE, phase),
            Event::HookLine { derivation, line } => {
                let mut objects = Vec::new();
                let Some((activity, fetch, hook)) = state.running.get(*derivation).copied() else {
                    return objects;
                };
                let path = format!("{}/{derivation}", self.store_dir);
                let hook = hook.unwrap_or_else(|| {
                    let text = format!("running post-build-hook '{path}'");
                    state.start(&mut objects, 3, HOOK, &text, Some(json!([path])))
                });
                state.running.insert((*derivation).clone(), (activity, fetch, Some(hook)));
                objects.push(json!({"action": "result", "id": hook, "type": HOOK_LINE, "fields": [line]}));
                objects
            }
            Event::Downloaded { derivation, done, total } => {
                let Some((activity, ..)) = state.running.get(*derivation) else { return Vec::new() };
                let fields = json!([done, total.unwrap_or(0), 0, 0]);
                vec![json!({"action": "result", "id": activity, "type": PROGRESS, "fields": fields})]
            }
            Event::Finished { derivation, .. } => state.stopped(derivation, true),
            Event::Failed { derivation, .. } => state.stopped(derivation, false),
            Event::Ended => {
                let activities = [state.copies.activity, state.builds.activity, state.realise];
                activities.map(|activity| json!({"action": "stop", "id": activity})).into()
            }
            _ => Vec::new(),
        }
    }

    fn started(&self, state: &mut State, path: &StorePath, fetch: bool) -> Vec<Value> {
        let mut objects = Vec::new();
        let printed = format!("{}/{path}", self.store_dir);
        let activity = if fetch {
            state.copies.running += 1;
            let text = format!("copying path '{printed}'");
            state.start(&mut objects, 3, SUBSTITUTE, &text, Some(json!([printed, ""])))
        } else {
            state.builds.running += 1;
            // The derivation, the machine, the round and how many rounds there are.
            let text = format!("building '{printed}'");
            state.start(&mut objects, 3, BUILD, &text, Some(json!([printed, "", 1, 1])))
        };
        state.running.insert(path.clone(), (activity, fetch, None));
        state.counts(&mut objects);
        objects
    }
}

impl State {
    fn start(
        &mut self,
        objects: &mut Vec<Value>,
        level: u8,
        kind: u64,
        text: &str,
        fields: Option<Value>,
    ) -> u64 {
        let id = self.next;
        self.next += 1;
        let mut object =
            json!({"action": "start", "id": id, "level": level, "parent": 0, "text": text, "type": kind});
        if let Some(fields) = fields {
            object["fields"] = fields;
        }
        objects.push(object);
        id
    }

    fn counts(&self, objects: &mut Vec<Value>) {
        objects.extend([self.builds.result(), self.copies.result()]);
        for kind in [101, 100] {
            objects.push(
                json!({"action": "result", "id": self.realise, "type": SET_EXPECTED, "fields": [kind, 0]}),
            );
        }
    }

    fn result_of(&self, path: &StorePath, kind: u64, text: &str) -> Vec<Value> {
        let Some((activity, ..)) = self.running.get(path) else { return Vec::new() };
        vec![json!({"action": "result", "id": activity, "type": kind, "fields": [text]})]
    }

    fn stopped(&mut self, path: &StorePath, good: bool) -> Vec<Value> {
        let mut objects = Vec::new();
        let Some((activity, fetch, hook)) = self.running.remove(path) else { return objects };
        let count = if fetch { &mut self.copies } else { &mut self.builds };
        count.running = count.running.saturating_sub(1);
        if good {
            count.done += 1;
        } else {
            count.failed += 1;
            count.expected = count.expected.saturating_sub(1);
        }
        self.counts(&mut objects);
        objects.extend(hook.into_iter().chain([activity]).map(|id| json!({"action": "stop", "id": id})));
        objects
    }
}

impl Progress for InternalJson {
    fn event(&self, event: &Event<'_>) {
        let lines: Vec<String> =
            self.objects(event).into_iter().map(|object| format!("@nix {object}\n")).collect();
        if !lines.is_empty() {
            super::screen::write(&lines.concat());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// What Nix 2.26.3 writes for a build that says one line in one phase, without its activity of asking caches and what
    /// changes from run to run: taken with `nix-build --log-format internal-json`.
    const OF_NIX: &str = r#"
start 0 102 null
start 0 104 null
start 0 103 null
result 105 [0,1,0,0]
result 105 [0,0,0,0]
result 106 [101,0]
result 106 [100,0]
start 3 105 ["/nix/store/w4qykzk6g947g28g68p1kqm18z09z19k-one.drv","",1,1]
result 105 [0,1,1,0]
result 105 [0,0,0,0]
result 106 [101,0]
result 106 [100,0]
result 104 ["buildPhase"]
result 101 ["hello one"]
result 105 [1,1,0,0]
result 105 [0,0,0,0]
result 106 [101,0]
result 106 [100,0]
stop null null
stop null null
stop null null
stop null null
"#;

    #[test]
    fn a_build_is_told_as_nix_tells_it() {
        let progress = InternalJson::new("/nix/store".to_owned());
        let derivation = &StorePath::from_base_name("w4qykzk6g947g28g68p1kqm18z09z19k-one.drv").unwrap();
        let mut text = String::from("\n");
        for event in [
            Event::Planned { builds: 1, fetches: 0 },
            Event::Started { derivation, fetch: false },
            Event::Phase { derivation, phase: "buildPhase" },
            Event::Line { derivation, line: "hello one" },
            Event::Finished { derivation, duration: Duration::ZERO },
            Event::Ended,
        ] {
            for object in progress.objects(&event) {
                let action = object["action"].as_str().unwrap();
                let line = match action {
                    "start" => format!("start {} {} {}\n", object["level"], object["type"], object["fields"]),
                    _ => format!("{action} {} {}\n", object["type"], object["fields"]),
                };
                text.push_str(&line);
            }
        }
        assert_eq!(text, OF_NIX);
    }

    #[test]
    fn every_activity_that_starts_stops_once() {
        let progress = InternalJson::new("/nix/store".to_owned());
        let derivation = &StorePath::from_base_name("w4qykzk6g947g28g68p1kqm18z09z19k-one.drv").unwrap();
        let mut running = std::collections::BTreeSet::new();
        for event in [
            Event::Planned { builds: 1, fetches: 1 },
            Event::Started { derivation, fetch: true },
            Event::Downloaded { derivation, done: 5, total: Some(10) },
            Event::HookLine { derivation, line: "signed" },
            Event::Failed { derivation, kind: &store::build::FailureKind::Cancelled },
            Event::Line { derivation, line: "too late" },
            Event::Ended,
        ] {
            for object in progress.objects(&event) {
                let id = object["id"].as_u64().unwrap();
                match object["action"].as_str().unwrap() {
                    "start" => assert!(running.insert(id)),
                    "stop" => assert!(running.remove(&id)),
                    _ => assert!(running.contains(&id), "{object}"),
                }
            }
        }
        assert!(running.is_empty());
    }
}
