//! Switches of a machine whose supervisor is a stand-in on a real control socket: what is asked of it in which order, what
//! happens when a unit does not come up, when the supervisor goes away, and when the switch is killed at every point at
//! which it talks to the supervisor.

#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

use formats::control::{ActiveState, Message as _, Phase, Reply, Request, UnitStatus};
use formats::service_graph::builder::{GraphBuilder, Settings, Value};
use formats::service_graph::key::Key;
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// What the stand-in knows and does.
#[derive(Debug, Default)]
struct Supervisor {
    states: BTreeMap<String, ActiveState>,
    /// Requests as they came.
    asked: Vec<String>,
    /// Units that fail to start under a graph whose path contains this.
    fails: Vec<(String, String)>,
    /// Whether web.service ends right after its start under generation 2.
    dies: bool,
    /// Goes away instead of answering the nth request.
    vanishes_at: Option<usize>,
    /// Does not answer the nth request until it is told to end.
    hangs_at: Option<usize>,
}

struct Machine {
    _directory: tempfile::TempDir,
    root: PathBuf,
    supervisor: Arc<Mutex<Supervisor>>,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_path_buf();
        std::fs::create_dir_all(root.join("nix/store")).unwrap();
        std::fs::create_dir_all(root.join("run/firn")).unwrap();
        let supervisor = Arc::new(Mutex::new(Supervisor::default()));
        let machine = Self { _directory: directory, root, supervisor };
        for number in [1, 2] {
            machine.generation(number);
        }
        assert!(machine.activate(1, "boot").wait_with_output().unwrap().status.success());
        let listener = UnixListener::bind(machine.root.join("run/firn/control")).unwrap();
        let shared = Arc::clone(&machine.supervisor);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&shared, stream.unwrap()));
            }
        });
        let mut state = machine.supervisor.lock().unwrap();
        for unit in ["web.service", "needs-web.service", "db.service", "multi-user.target"] {
            state.states.insert(unit.to_owned(), ActiveState::Active);
        }
        drop(state);
        machine
    }

    /// Generation 2 differs in web.service and in /etc/greeting.
    fn generation(&self, number: u64) {
        let toplevel = self.toplevel(number);
        std::fs::create_dir_all(toplevel.join("etc")).unwrap();
        let text = self.root.join(format!("nix/store/greeting-{number}"));
        std::fs::write(&text, format!("generation {number}")).unwrap();
        symlink(format!("/nix/store/greeting-{number}"), toplevel.join("etc/greeting")).unwrap();
        let etc =
            format!(r#"[{{"target":"greeting","source":"/nix/store/greeting-{number}","mode":"symlink"}}]"#);
        std::fs::write(toplevel.join("activation.json"), format!(r#"{{"version":1,"etc":{etc}}}"#)).unwrap();
        let mut graph = GraphBuilder::default();
        for (unit, fingerprint) in
            [("web.service", number), ("needs-web.service", 7), ("db.service", 7), ("multi-user.target", 7)]
        {
            graph.add(unit, Settings::from([(Key::Fingerprint, Value::Number(fingerprint))]));
        }
        std::fs::write(toplevel.join("services.graph"), graph.build().unwrap()).unwrap();
        symlink(env!("CARGO_BIN_EXE_firn-activate"), toplevel.join("activate")).unwrap();
    }

    fn toplevel(&self, number: u64) -> PathBuf {
        self.root.join(format!("nix/store/system-{number}"))
    }

    fn activate(&self, number: u64, action: &str) -> Child {
        Command::new(self.toplevel(number).join("activate"))
            .args([
                action,
                "--toplevel",
                &format!("/nix/store/system-{number}"),
                "--root",
                self.root.to_str().unwrap(),
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn switch(&self, number: u64) -> Output {
        self.activate(number, "switch").wait_with_output().unwrap()
    }

    fn current(&self) -> PathBuf {
        std::fs::read_link(self.root.join("run/current-system")).unwrap()
    }

    fn greeting(&self) -> String {
        let link = std::fs::read_link(self.root.join("etc/static")).unwrap();
        let file =
            std::fs::read_link(self.root.join(link.strip_prefix("/").unwrap()).join("greeting")).unwrap();
        std::fs::read_to_string(self.root.join(file.strip_prefix("/").unwrap())).unwrap()
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.supervisor.lock().unwrap().asked)
    }

    fn journal(&self) -> String {
        std::fs::read_to_string(self.root.join("var/lib/firn/switch.json")).unwrap()
    }
}

/// Answers one client.
fn serve(shared: &Mutex<Supervisor>, mut stream: UnixStream) {
    while let Ok(Some(request)) = Request::receive(&mut stream) {
        let mut state = shared.lock().unwrap();
        let number = state.asked.len();
        state.asked.push(match &request {
            Request::Switch { graph, phase } => format!("{phase:?} {}", graph.rsplit('/').nth(1).unwrap()),
            Request::Job { verb, unit, .. } => format!("{verb:?} {unit}"),
            other => format!("{other:?}"),
        });
        if state.vanishes_at == Some(number) {
            return;
        }
        if state.hangs_at == Some(number) {
            state.hangs_at = None;
            drop(state);
            let mut byte = [0];
            // Until the client is killed.
            let _ended = std::io::Read::read(&mut stream, &mut byte);
            return;
        }
        let replies = answer(&mut state, &request);
        drop(state);
        for reply in replies {
            if reply.send(&mut stream).is_err() {
                return;
            }
        }
    }
}

fn answer(state: &mut Supervisor, request: &Request) -> Vec<Reply> {
    let done = || Reply::Done { result: "done".to_owned() };
    let step = |action: &str, result: &str| Reply::Step {
        unit: "web.service".to_owned(),
        action: action.to_owned(),
        reason: "definition changed".to_owned(),
        result: result.to_owned(),
    };
    let kept = || Reply::Step {
        unit: "db.service".to_owned(),
        action: "keep".to_owned(),
        reason: "definition changed".to_owned(),
        result: "kept".to_owned(),
    };
    let fails = |state: &Supervisor, graph: &str| state.fails.iter().any(|(_, under)| graph.contains(under));
    match request {
        Request::List => {
            vec![Reply::Units(state.states.iter().map(|(name, active)| status(name, *active)).collect())]
        }
        Request::Switch { phase: Phase::Stop, .. } => {
            if state.states.get("web.service") == Some(&ActiveState::Active) {
                state.states.insert("web.service".to_owned(), ActiveState::Inactive);
                // It needs web.service and goes down with it; nobody plans to start it again.
                state.states.insert("needs-web.service".to_owned(), ActiveState::Inactive);
                return vec![step("restart", "done"), kept(), done()];
            }
            vec![done()]
        }
        Request::Switch { graph, .. } => {
            let failed = fails(state, graph);
            let active = if failed { ActiveState::Failed } else { ActiveState::Active };
            let dies = state.dies && graph.contains("system-2");
            let active = if dies { ActiveState::Failed } else { active };
            state.states.insert("web.service".to_owned(), active);
            vec![step("start", if failed { "failed" } else { "done" }), kept(), done()]
        }
        Request::Job { unit, .. } => {
            state.states.insert(unit.clone(), ActiveState::Active);
            vec![done()]
        }
        _ => vec![Reply::Refused { reason: "not in this test".to_owned() }],
    }
}

fn status(name: &str, active: ActiveState) -> UnitStatus {
    UnitStatus {
        name: name.to_owned(),
        description: String::new(),
        active,
        sub: String::new(),
        result: String::new(),
        main_pid: 0,
        exit_status: 0,
        restarts: 0,
        since: 0,
        took: 0,
        status_text: String::new(),
        cgroup: String::new(),
        defined_at: String::new(),
    }
}

#[test]
fn stop_activate_start_and_only_what_changed() {
    let machine = Machine::new();
    let dry = machine.activate(2, "dry-activate").wait_with_output().unwrap();
    let plan = String::from_utf8_lossy(&dry.stderr).into_owned();
    assert!(
        plan.contains("would restart web.service (definition changed)") && !plan.contains("db.service"),
        "{plan}"
    );
    assert_eq!(machine.asked(), ["List"]);
    let output = machine.switch(2);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let asked =
        ["List", "List", "Stop system-2", "Finish system-2", "List", "Start needs-web.service", "List"];
    assert_eq!(machine.asked(), asked);
    assert_eq!(machine.greeting(), "generation 2");
    assert!(machine.journal().contains("\"outcome\": \"done\""), "{}", machine.journal());
}

#[test]
fn a_unit_that_ran_and_fails_takes_the_machine_back() {
    let machine = Machine::new();
    machine.supervisor.lock().unwrap().fails.push(("web.service".to_owned(), "system-2".to_owned()));
    let output = machine.switch(2);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("web.service ran before") && text.contains("runs as before"), "{text}");
    assert_eq!(machine.current(), Path::new("/nix/store/system-1"));
    assert_eq!(machine.greeting(), "generation 1");
    assert_eq!(machine.supervisor.lock().unwrap().states["web.service"], ActiveState::Active);
    assert!(machine.journal().contains("reverted"));
    // Asked to stay, it stays and says what failed.
    let output = Command::new(machine.toplevel(2).join("activate"))
        .args([
            "switch",
            "--no-revert",
            "--toplevel",
            "/nix/store/system-2",
            "--root",
            machine.root.to_str().unwrap(),
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(machine.current(), Path::new("/nix/store/system-2"));
    assert!(machine.journal().contains("doneWithFailures"));
}

#[test]
fn a_unit_that_ends_right_after_its_start_has_failed() {
    let machine = Machine::new();
    machine.supervisor.lock().unwrap().dies = true;
    let output = machine.switch(2);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("web.service ended at once; `firn logs -u web.service`"), "{text}");
    assert!(text.contains("runs as before"), "{text}");
    assert_eq!(machine.greeting(), "generation 1");
}

#[test]
fn a_supervisor_that_goes_away_leaves_a_whole_generation() {
    for at in 0..5 {
        let machine = Machine::new();
        machine.supervisor.lock().unwrap().vanishes_at = Some(at);
        let output = machine.switch(2);
        assert_ne!(output.status.code(), Some(0), "request {at}");
        let (current, greeting) = (machine.current(), machine.greeting());
        let number = greeting.rsplit(' ').next().unwrap();
        assert_eq!(current, Path::new("/nix/store").join(format!("system-{number}")), "request {at}");
    }
}

#[test]
fn killed_at_any_point_the_next_switch_finishes() {
    for at in 0..5 {
        let machine = Machine::new();
        machine.supervisor.lock().unwrap().hangs_at = Some(at);
        let mut child = machine.activate(2, "switch");
        while machine.supervisor.lock().unwrap().hangs_at.is_some() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let output = machine.switch(2);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "killed at {at}: {text}");
        assert_eq!(machine.greeting(), "generation 2");
        for unit in ["web.service", "needs-web.service", "db.service"] {
            assert_eq!(
                machine.supervisor.lock().unwrap().states[unit],
                ActiveState::Active,
                "{unit}, killed at {at}"
            );
        }
        if at >= 2 {
            assert!(text.contains("cut off"), "killed at {at}: {text}");
        }
    }
}

#[test]
fn a_boot_after_a_cut_off_switch_is_noted() {
    let machine = Machine::new();
    machine.supervisor.lock().unwrap().hangs_at = Some(3);
    let mut child = machine.activate(2, "switch");
    while machine.supervisor.lock().unwrap().hangs_at.is_some() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let output = machine.activate(1, "boot").wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("cut off by a restart"));
    assert_eq!(machine.greeting(), "generation 1");
}

#[test]
fn a_graph_of_another_version_asks_for_a_reboot() {
    let machine = Machine::new();
    let graph = machine.toplevel(2).join("services.graph");
    let mut bytes = std::fs::read(&graph).unwrap();
    bytes[8..12].copy_from_slice(&9999u32.to_le_bytes());
    std::fs::write(&graph, bytes).unwrap();
    let output = machine.switch(2);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(100), "{text}");
    assert!(text.contains("firn boot"), "{text}");
    assert_eq!(machine.greeting(), "generation 1");
}

#[test]
fn two_at_once_are_refused() {
    let machine = Machine::new();
    machine.supervisor.lock().unwrap().hangs_at = Some(2);
    let mut child = machine.activate(2, "switch");
    while machine.supervisor.lock().unwrap().hangs_at.is_some() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let output = machine.switch(1);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("another activation is running"));
    child.kill().unwrap();
    child.wait().unwrap();
}
