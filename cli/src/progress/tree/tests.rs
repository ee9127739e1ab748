//! What the tree shows on screens of several sizes, event by event.

use super::*;
use store::build::FailureKind;

const PLAIN: Style = Style { unicode: false, colour: false, width: 60, height: 20 };

fn path(name: &str) -> StorePath {
    StorePath::from_base_name(&format!("w4qykzk6g947g28g68p1kqm18z09z19k-{name}")).unwrap()
}

/// `top` needs `left` and `right`, `right` needs the download `src`; `other` stands alone.
fn planned(now: Instant) -> Tree {
    let mut tree = Tree::default();
    tree.apply(&Event::Planned { builds: 4, fetches: 1 }, now);
    let names = ["src", "left.drv", "right.drv", "top.drv", "other.drv"].map(path);
    let [src, left, right, top, other] = &names;
    let mut step = |path, needs: &[&StorePath], fetch, size| {
        tree.apply(&Event::Step { path, needs, fetch, size }, now);
    };
    step(src, &[], true, Some(4_000_000));
    step(left, &[], false, None);
    step(right, &[src], false, None);
    step(top, &[left, right], false, None);
    step(other, &[], false, None);
    tree
}

fn start(tree: &mut Tree, name: &str, now: Instant) {
    tree.apply(&Event::Started { derivation: &path(name), fetch: name == "src" }, now);
}

fn finish(tree: &mut Tree, name: &str, now: Instant) {
    tree.apply(&Event::Finished { derivation: &path(name), duration: Duration::ZERO }, now);
}

#[test]
fn what_runs_stands_below_what_waits_for_it() {
    let began = Instant::now();
    let mut tree = planned(began);
    assert_eq!(
        tree.lines(began, PLAIN),
        ["0 of 4 built; 0 of 1 downloaded, 0.0 of 4.0 MB; 0:00"],
        "nothing runs yet"
    );
    for name in ["src", "left.drv", "other.drv"] {
        start(&mut tree, name, began);
    }
    tree.apply(&Event::Phase { derivation: &path("left.drv"), phase: "buildPhase" }, began);
    tree.apply(&Event::Line { derivation: &path("left.drv"), line: "\x1b[32mcc\x1b[0m -c\ta.c\x07" }, began);
    let later = began + Duration::from_secs(65);
    tree.apply(&Event::Downloaded { derivation: &path("src"), done: 1_000_000, total: None }, later);
    assert_eq!(
        tree.lines(later + Duration::from_secs(1), PLAIN),
        [
            "- top waits for 2",
            "|- - right waits for 1",
            "|  `- v src 1.0 of 4.0 MB 1:06",
            "`- > left 1:06 buildPhase: cc -c a.c",
            "> other 1:06",
            "0 of 4 built; 0 of 1 downloaded, 1.0 of 4.0 MB at 1.0 MB/s; ",
        ]
    );
}

#[test]
fn what_ended_is_gone_and_what_failed_stays() {
    let now = Instant::now();
    let mut tree = planned(now);
    for name in ["src", "left.drv", "other.drv"] {
        start(&mut tree, name, now);
    }
    finish(&mut tree, "src", now);
    finish(&mut tree, "other.drv", now);
    tree.apply(&Event::Failed { derivation: &path("left.drv"), kind: &FailureKind::Exit(3) }, now);
    start(&mut tree, "right.drv", now);
    tree.apply(&Event::Registering { derivation: &path("right.drv") }, now);
    assert_eq!(
        tree.lines(now, PLAIN),
        [
            "- top waits for 2",
            "|- x left builder failed with exit code 3",
            "`- > right 0:00 into the store",
            "1 of 4 built; 1 failed; 1 of 1 downloaded, 0.0 of 4.0 MB; 0:",
        ]
    );
}

#[test]
fn a_small_screen_is_never_left() {
    let now = Instant::now();
    for height in 1..12 {
        let mut tree = Tree::default();
        tree.apply(&Event::Planned { builds: 50, fetches: 0 }, now);
        let mut before: Option<StorePath> = None;
        for number in 0..50 {
            let step = path(&format!("step-{number}.drv"));
            let needs: Vec<&StorePath> = before.iter().filter(|_| number % 10 == 9).collect();
            tree.apply(&Event::Step { path: &step, needs: &needs, fetch: false, size: None }, now);
            if number % 10 != 9 {
                tree.apply(&Event::Started { derivation: &step, fetch: false }, now);
            }
            before = Some(step);
        }
        let style = Style { width: 30, height, unicode: true, colour: false };
        let lines = tree.lines(now, style);
        assert!(lines.len() <= height, "{height}: {lines:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 30));
        assert!(lines.last().unwrap().starts_with("0 of 50 built"));
        if height > 2 {
            assert_eq!(lines[height - 2], format!("⋮ {} more", 45 - (height - 2)));
        }
    }
}

#[test]
fn builds_of_a_daemon_that_tells_no_plan_are_shown() {
    let now = Instant::now();
    let mut tree = Tree::default();
    start(&mut tree, "left.drv", now);
    assert_eq!(tree.lines(now, PLAIN), ["> left 0:00", "0 of 1 built"]);
    finish(&mut tree, "left.drv", now);
    assert_eq!(tree.lines(now, PLAIN), ["1 of 1 built"]);
}

#[test]
fn colours_do_not_count_as_columns() {
    let now = Instant::now();
    let mut tree = Tree::default();
    start(&mut tree, "left.drv", now);
    let style = Style { colour: true, width: 6, ..PLAIN };
    assert_eq!(tree.lines(now, style)[0], "\x1b[32m> left\x1b[0m");
}
