//! Units in JSON, as the modules hand them over, and what becomes of them.

use super::*;
use formats::service_graph::view::Graph;

const TARGETS: &str = r#"
    "sysinit.target": {"sections": {"Unit": {"DefaultDependencies": ["false"]}}, "definedAt": null, "x": {}},
    "basic.target": {"sections": {"Unit": {"DefaultDependencies": ["false"], "Requires": ["sysinit.target"], "After": ["sysinit.target"]}}},
    "multi-user.target": {"sections": {"Unit": {"Requires": ["basic.target"], "After": ["basic.target"]}}}"#;

fn compile_json(units: &str) -> Result<Vec<u8>, String> {
    let text = format!(
        r#"{{"units": {{ {TARGETS}, {units} }}, "packages": [], "storePathsChecked": true, "users": ["nginx"], "groups": ["nginx"]}}"#
    );
    let input: GraphInput = serde_json::from_str(&text).unwrap();
    compile(&input).map_err(|errors| errors.to_string())
}

#[test]
fn a_service_as_modules_write_it() {
    let file = compile_json(
        r#""nginx.service": {"sections": {
            "Unit": {"Description": ["Web"], "After": ["network.target"], "StartLimitBurst": ["3"]},
            "Service": {"ExecStart": ["/bin/nginx -g 'daemon off;'"], "Environment": ["A=b", "\"C=d e\""], "Restart": ["on-failure"],
                        "User": ["nginx"], "LimitNOFILE": ["65536"], "RuntimeDirectory": ["nginx"], "MemoryMax": ["64M"], "TimeoutSec": ["5"]},
            "Install": {"WantedBy": ["multi-user.target"], "Alias": ["web.service"]}},
            "definedAt": "/etc/nixos/configuration.nix:12", "x": {"stopIfChanged": false, "restartTriggers": "abc"}},
           "getty@.service": {"sections": {"Service": {"ExecStart": ["/bin/agetty %I"]}}},
           "getty.target": {"sections": {"Unit": {"Wants": ["getty@tty1.service"]}}}"#,
    )
    .unwrap();
    let graph = Graph::load(&file).unwrap();
    let unit = graph.find("web.service").unwrap();
    assert_eq!(unit.name(), "nginx.service");
    assert_eq!(unit.texts(Key::Environment).collect::<Vec<_>>(), ["A=b", "C=d e"]);
    assert_eq!(unit.texts(Key::CgroupWrites).collect::<Vec<_>>(), ["memory.max=67108864"]);
    assert_eq!(unit.numbers(Key::Limits).collect::<Vec<_>>(), [7, 65536, 65536]);
    assert_eq!(unit.number(Key::TimeoutStop), Some(5_000_000));
    assert!(unit.flag(flag::NO_STOP_IF_CHANGED));
    assert_eq!(unit.text(Key::RestartTriggers), Some("abc"));
    let names = |key| {
        unit.units(key).filter_map(|index| graph.unit(index)).map(|unit| unit.name()).collect::<Vec<_>>()
    };
    assert_eq!(names(Key::WantedBy), ["multi-user.target"]);
    assert_eq!(names(Key::Requires), ["sysinit.target"]);
    assert_eq!(names(Key::After), ["sysinit.target", "basic.target"]);
    assert!(names(Key::Before).contains(&"multi-user.target"));
    let getty = graph.find("getty@tty1.service").unwrap();
    assert_eq!(getty.command(Key::ExecStart, 0).unwrap().arguments().nth(1), Some(c"tty1"));
    let template = graph.find("getty@.service").unwrap();
    assert!(template.flag(flag::TEMPLATE) && template.keys().count() == 3, "it is only kept");
    assert_eq!(template.texts(Key::Template).collect::<Vec<_>>(), ["Service", "ExecStart", "/bin/agetty %I"]);
}

/// Each fault: the directives of one service, and what the message has to say.
#[test]
fn faults_name_the_place_and_what_to_do() {
    let cases = [
        (
            r#""Service": {"ExecStart": ["/bin/a"], "StateDiectory": ["x"]}"#,
            "[Service] StateDiectory= is no directive; did you mean StateDirectory?",
        ),
        (r#""Service": {"ExecStart": ["/bin/a"], "PidFile": ["x"]}"#, "did you mean PIDFile?"),
        (
            r#""Service": {"ExecStart": ["/bin/a"], "PAMName": ["login"]}"#,
            "PAMName= is not honoured by Firn yet, and a session would need libpam",
        ),
        (
            r#""Service": {"ExecStart": ["/nix/store/none/bin/a"]}"#,
            "ExecStart= runs /nix/store/none/bin/a, which does not exist",
        ),
        (r#""Service": {"ExecStart": ["a"]}"#, "not the absolute path of a program"),
        (
            r#""Service": {"ExecStart": ["/bin/a"], "User": ["nginz"]}"#,
            "User=nginz: the configuration declares no such user; did you mean nginx?",
        ),
        (
            r#""Service": {"ExecStart": ["/bin/a"], "Restart": ["sometimes"]}"#,
            "must be one of no, on-success",
        ),
        (r#""Service": {"Restart": ["always"]}"#, "the service has no ExecStart="),
        (
            r#""Unit": {"Requires": ["multi-usr.target"]}, "Service": {"ExecStart": ["/bin/a"]}"#,
            "there is no such unit; did you mean multi-user.target?",
        ),
        (
            r#""Unit": {"Before": ["sysinit.target"]}, "Service": {"ExecStart": ["/bin/a"]}"#,
            "ordered in a circle",
        ),
        (
            r#""Unit": {"TimeoutSec": ["3"]}, "Service": {"ExecStart": ["/bin/a"]}"#,
            "[Unit] TimeoutSec= is no directive",
        ),
        (
            r#""Socket": {"ListenStream": ["80"]}, "Service": {"ExecStart": ["/bin/a"]}"#,
            "there is no section [Socket]",
        ),
    ];
    for (sections, expected) in cases {
        let json =
            format!(r#""a.service": {{"sections": {{ {sections} }}, "definedAt": "/c.nix:7", "x": {{}}}}"#);
        let message = compile_json(&json).unwrap_err();
        assert!(message.contains(expected) && message.contains("/c.nix:7"), "{sections}\n{message}");
    }
}

#[test]
fn a_circle_is_shown_whole() {
    let message = compile_json(
        r#""a.service": {"sections": {"Unit": {"After": ["b.service"]}, "Service": {"ExecStart": ["/bin/a"]}}},
           "b.service": {"sections": {"Unit": {"After": ["c.service"]}, "Service": {"ExecStart": ["/bin/a"]}}},
           "c.service": {"sections": {"Unit": {"After": ["a.service"]}, "Service": {"ExecStart": ["/bin/a"]}}}"#,
    )
    .unwrap_err();
    assert!(
        message.contains("a.service is after b.service is after c.service is after a.service"),
        "{message}"
    );
}

#[test]
fn mounts_are_ordered_by_their_paths() {
    let mount = |place: &str| {
        format!(
            r#""{}.mount": {{"sections": {{"Mount": {{"What": ["/dev/x"], "Where": ["{place}"]}}}}}}"#,
            crate::specifier::escape_path(place)
        )
    };
    let file = compile_json(&format!(
        r#"{}, {}, "a.service": {{"sections": {{"Unit": {{"RequiresMountsFor": ["/var/lib/a"]}}, "Service": {{"ExecStart": ["/bin/a"]}}}}}}"#,
        mount("/var"),
        mount("/var/lib")
    ))
    .unwrap();
    let graph = Graph::load(&file).unwrap();
    let after = |name: &str| {
        let unit = graph.find(name).unwrap();
        unit.units(Key::After)
            .filter_map(|index| graph.unit(index))
            .map(|unit| unit.name().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(after("var-lib.mount"), ["var.mount"]);
    assert!(
        after("a.service").contains(&"var-lib.mount".to_owned())
            && after("a.service").contains(&"var.mount".to_owned())
    );
}

#[test]
fn only_what_matters_changes_the_fingerprint() {
    let print = |description: &str, environment: &str| {
        let file = compile_json(&format!(
            r#""a.service": {{"sections": {{"Unit": {{"Description": ["{description}"]}},
               "Service": {{"ExecStart": ["/bin/a"], "Environment": ["{environment}"]}}}}}}"#
        ))
        .unwrap();
        Graph::load(&file).unwrap().find("a.service").unwrap().number(Key::Fingerprint)
    };
    assert_eq!(print("x", "A=1"), print("y", "A=1"));
    assert_ne!(print("x", "A=1"), print("x", "A=2"));
}

#[test]
fn a_socket_that_accepts_has_an_instance_for_each_connection() {
    let socket = |more: &str| {
        format!(
            r#""echo.socket": {{"sections": {{"Socket": {{"ListenStream": ["7"], "Accept": ["yes"] {more}}}}}}},
               "echo@.service": {{"sections": {{"Service": {{"ExecStart": ["/bin/cat %i"], "StandardInput": ["socket"]}}}}}}"#
        )
    };
    let file = compile_json(&socket(r#", "MaxConnections": ["3"]"#)).unwrap();
    let graph = Graph::load(&file).unwrap();
    let unit = graph.find("echo.socket").unwrap();
    let mut names: Vec<&str> =
        unit.units(Key::Triggers).filter_map(|index| graph.unit(index)).map(|unit| unit.name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["echo@0.service", "echo@1.service", "echo@2.service"]);
    let instance = graph.find("echo@1.service").unwrap();
    assert!(instance.flag(flag::FOR_CONNECTION) && unit.flag(flag::ACCEPT));
    assert_eq!(instance.command(Key::ExecStart, 0).unwrap().arguments().nth(1), Some(c"1"));
    let file = compile_json(&socket("")).unwrap();
    assert_eq!(Graph::load(&file).unwrap().find("echo.socket").unwrap().units(Key::Triggers).count(), 64);
    assert!(
        compile_json(&socket(r#", "MaxConnections": ["9999"]"#)).unwrap_err().contains("between 1 and 512")
    );
    let alone = r#""a.socket": {"sections": {"Socket": {"ListenStream": ["7"], "Accept": ["yes"]}}}"#;
    assert!(compile_json(alone).unwrap_err().contains("a@.service"));
}

#[test]
fn the_sandbox_that_modules_write() {
    let file = compile_json(
        r#""a.service": {"sections": {"Service": {"ExecStart": ["/bin/a"], "DynamicUser": ["true"], "PrivateDevices": ["true"], "ProtectClock": ["true"],
           "SystemCallFilter": ["@system-service", "~@privileged @resources"], "RestrictAddressFamilies": ["AF_UNIX AF_INET"],
           "CapabilityBoundingSet": ["CAP_SYS_TIME CAP_CHOWN"], "ProtectHome": ["tmpfs"], "LoadCredential": ["k:/etc/k"]}}}"#,
    )
    .unwrap();
    let graph = Graph::load(&file).unwrap();
    let unit = graph.find("a.service").unwrap();
    assert_eq!((unit.number(Key::ProtectSystem), unit.number(Key::ProtectHome)), (Some(3), Some(3)));
    assert_eq!(unit.number(Key::CapabilityBoundingSet), Some(1), "what ProtectClock= takes is gone");
    assert!(unit.flag(flag::NO_NEW_PRIVILEGES) && unit.number(Key::DevicePolicy) == Some(1));
    let words: Vec<u64> = unit.numbers(Key::SeccompFilter).collect();
    let (mut programs, mut at) = (0, 0);
    while at < words.len() {
        at += words[at] as usize + 1;
        programs += 1;
    }
    assert_eq!((programs, at), (3, words.len()), "arguments, denied groups, the filter");
}

#[test]
fn limits_in_spans_and_with_signs_and_lists_taken_back() {
    let file = compile_json(
        r#""a.service": {"sections": {
            "Unit": {"ConditionPathExists": ["/not/there", ""]},
            "Service": {"ExecStart": ["/bin/true"], "LimitCPU": ["2min"], "LimitRTTIME": ["5ms:infinity"], "LimitNICE": ["+5"],
                        "StandardOutput": ["null", ""]}}}"#,
    )
    .unwrap();
    let graph = Graph::load(&file).unwrap();
    let unit = graph.find("a.service").unwrap();
    let mut limits: Vec<u64> = unit.numbers(Key::Limits).collect();
    limits.sort_unstable();
    assert_eq!(limits, [0, 13, 15, 15, 15, 120, 120, 5000, u64::MAX]);
    assert!(!unit.has(Key::Conditions) && !unit.has(Key::StandardOutput));
}

#[test]
fn resources_are_honoured_in_every_kind_that_has_a_cgroup() {
    for (name, section, own) in [
        ("a.service", "Service", r#""ExecStart": ["/bin/a"]"#),
        ("a.socket", "Socket", r#""ListenStream": ["7"], "Service": ["b.service"]"#),
        ("run-a.mount", "Mount", r#""What": ["x"], "Where": ["/run/a"]"#),
        ("dev-a.swap", "Swap", r#""What": ["/dev/a"]"#),
        ("a.slice", "Slice", r#""CPUWeight": ["100"]"#),
    ] {
        let file = compile_json(&format!(
            r#""{name}": {{"sections": {{"{section}": {{ {own}, "MemoryMax": ["1M"], "TasksMax": ["7"], "CPUQuota": ["50%"]}}}}}},
               "b.service": {{"sections": {{"Service": {{"ExecStart": ["/bin/b"]}}}}}}"#
        ))
        .unwrap();
        let graph = Graph::load(&file).unwrap();
        let writes: Vec<&str> = graph.find(name).unwrap().texts(Key::CgroupWrites).collect();
        for wanted in ["memory.max=1048576", "pids.max=7", "cpu.max=50000 100000"] {
            assert!(writes.contains(&wanted), "{name}: {writes:?}");
        }
        let json = format!(
            r#""{name}": {{"sections": {{"{section}": {{ {own}, "MemoryMx": ["1M"]}}}}}},
               "b.service": {{"sections": {{"Service": {{"ExecStart": ["/bin/b"]}}}}}}"#
        );
        assert!(compile_json(&json).unwrap_err().contains("did you mean MemoryMax?"));
    }
}

#[test]
fn what_needs_a_process_is_refused_where_none_runs() {
    for (name, section, directive, message) in [
        ("a.slice", "Slice", "User", "[Slice] User= is no directive"),
        ("a.slice", "Slice", "DeviceAllow", "[Slice] DeviceAllow= is not honoured"),
        ("a.mount", "Mount", "Environment", "[Mount] Environment= is not honoured"),
        ("a.timer", "Timer", "MemoryMax", "[Timer] MemoryMax= is no directive"),
        ("a.target", "Target", "MemoryMax", "[Target] MemoryMax= is no directive"),
    ] {
        let json = format!(r#""{name}": {{"sections": {{"{section}": {{"{directive}": ["1"]}}}}}}"#);
        let found = compile_json(&json).unwrap_err();
        assert!(found.contains(message), "{found}");
    }
}

#[test]
fn what_lies_in_a_slice_needs_it_and_has_its_addresses() {
    let file = compile_json(
        r#""a.slice": {"sections": {"Slice": {"IPAddressDeny": ["any"]}}},
           "a-b.slice": {"sections": {"Slice": {"IPAddressAllow": ["10.0.0.0/8"], "TasksMax": ["9"]}}},
           "x.service": {"sections": {"Service": {"ExecStart": ["/bin/a"], "Slice": ["a-b-c.slice"], "IPAddressAllow": ["localhost"]}}},
           "y.service": {"sections": {"Service": {"ExecStart": ["/bin/a"], "IPAddressAllow": ["localhost 10.0.0.0/8"], "IPAddressDeny": ["any"]}}},
           "z.service": {"sections": {"Service": {"ExecStart": ["/bin/a"]}}}"#,
    )
    .unwrap();
    let graph = Graph::load(&file).unwrap();
    let names = |name: &str, key| {
        let unit = graph.find(name).unwrap();
        unit.units(key).filter_map(|index| graph.unit(index)).map(|unit| unit.name()).collect::<Vec<_>>()
    };
    assert!(names("x.service", Key::Requires).contains(&"a-b.slice"));
    assert!(names("x.service", Key::After).contains(&"a-b.slice"));
    assert_eq!(names("a-b.slice", Key::After), ["a.slice"]);
    assert!(
        !names("z.service", Key::Requires)
            .iter()
            .any(|name| UnitKind::of_name(name) == Some(UnitKind::Slice))
    );
    let filter = |name: &str| graph.find(name).unwrap().numbers(Key::NetworkFilter).collect::<Vec<_>>();
    assert!(!filter("x.service").is_empty());
    assert_eq!(filter("x.service").len(), filter("y.service").len(), "the same lists, from three units");
    assert!(filter("z.service").is_empty() && filter("a.slice").is_empty());
}

#[test]
fn another_root_brings_the_kernels_file_systems_unless_told_not_to() {
    for (more, expected) in
        [("", true), (r#", "MountAPIVFS": ["no"]"#, false), (r#", "MountAPIVFS": ["yes"]"#, true)]
    {
        let file = compile_json(&format!(
            r#""a.service": {{"sections": {{"Service": {{"ExecStart": ["/bin/a"], "RootDirectory": ["/srv/a"],
               "ReadWritePaths": ["/x -/y +/z -+/v"] {more} }}}}}}"#
        ))
        .unwrap();
        let graph = Graph::load(&file).unwrap();
        let unit = graph.find("a.service").unwrap();
        let bits = unit.number(Key::Sandbox).unwrap_or(0);
        assert_eq!(bits & formats::service_graph::key::sandbox::MOUNT_API_VFS != 0, expected, "{more}");
        let paths: Vec<(u32, &str)> = unit.tagged(Key::ReadWritePaths).collect();
        assert_eq!(paths, [(0, "/x"), (1, "/y"), (2, "/z"), (3, "/v")]);
    }
}
