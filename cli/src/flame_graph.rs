//! A profile as a picture: an SVG that stands alone, calls below, what they call above, as wide as the time spent; the
//! name, the time and the share show under the pointer. Or as text, one stack a line (`a;b;c 123`, microseconds), which
//! other tools that draw flame graphs read. Brendan Gregg, "The Flame Graph" (CACM 2016).

use std::collections::BTreeMap;

/// Names of calls, outermost first, and the nanoseconds in the last of them.
type Stack = (Vec<String>, u64);

const WIDTH: f64 = 1200.0;
const ROW: usize = 17;
/// What would be narrower than this is left out.
const NARROWEST: f64 = 0.2;
/// Pixels a letter takes.
const LETTER: f64 = 6.6;

/// One stack a line.
pub(crate) fn folded(stacks: &[Stack]) -> String {
    let mut text = String::new();
    for (stack, nanoseconds) in stacks {
        let microseconds = nanoseconds / 1000;
        if microseconds > 0 {
            push(&mut text, format_args!("{} {microseconds}\n", stack.join(";")));
        }
    }
    text
}

#[derive(Default)]
struct Call<'s> {
    nanoseconds: u64,
    callees: BTreeMap<&'s str, Call<'s>>,
}

/// Not by recursion either: a test's thread has a small stack.
impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut waiting = vec![std::mem::take(&mut self.callees)];
        while let Some(callees) = waiting.pop() {
            waiting.extend(callees.into_values().map(|mut call| std::mem::take(&mut call.callees)));
        }
    }
}

/// The picture.
pub(crate) fn svg(stacks: &[Stack]) -> String {
    let mut root = Call::default();
    for (stack, nanoseconds) in stacks {
        let mut call = &mut root;
        call.nanoseconds += nanoseconds;
        for name in stack {
            call = call.callees.entry(name).or_default();
            call.nanoseconds += nanoseconds;
        }
    }
    let total = root.nanoseconds.max(1);
    let mut boxes = Vec::new();
    // Not recursive: stacks can be 10,000 calls deep.
    let mut waiting: Vec<(&str, &Call<'_>, u64, usize)> = Vec::new();
    push_callees(&root, 0, 0, &mut waiting);
    while let Some((name, call, start, depth)) = waiting.pop() {
        let width = call.nanoseconds as f64 / total as f64 * WIDTH;
        if width < NARROWEST {
            continue;
        }
        boxes.push((name, call.nanoseconds, start as f64 / total as f64 * WIDTH, width, depth));
        push_callees(call, start, depth + 1, &mut waiting);
    }
    let rows = boxes.iter().map(|&(.., depth)| depth + 1).max().unwrap_or(1);
    let height = rows * ROW + 40;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"monospace\" font-size=\"11\">\n<style>rect{{stroke:#fff;stroke-width:.4}}g:hover rect{{stroke:#000}}\
         text{{pointer-events:none}}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"8\" y=\"20\">firn eval: {:.3} s</text>\n",
        total as f64 / 1e9
    );
    for (name, nanoseconds, x, width, depth) in boxes {
        let y = height - (depth + 1) * ROW - 4;
        let share = nanoseconds as f64 * 100.0 / total as f64;
        let title = escaped(name);
        let milliseconds = nanoseconds as f64 / 1e6;
        push(
            &mut out,
            format_args!(
                "<g><title>{title}\n{milliseconds:.2} ms, {share:.2} %</title>\
                 <rect x=\"{x:.2}\" y=\"{y}\" width=\"{width:.2}\" height=\"{}\" fill=\"{}\"/>",
                ROW - 1,
                colour(name)
            ),
        );
        let letters = ((width - 4.0) / LETTER).max(0.0) as usize;
        if letters >= 3 {
            let label: String = name.chars().take(letters).collect();
            let below = y + ROW - 5;
            push(
                &mut out,
                format_args!("<text x=\"{:.2}\" y=\"{below}\">{}</text>", x + 2.0, escaped(&label)),
            );
        }
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

fn push_callees<'s, 't>(
    call: &'t Call<'s>,
    start: u64,
    depth: usize,
    waiting: &mut Vec<(&'s str, &'t Call<'s>, u64, usize)>,
) {
    let mut at = start;
    for (name, callee) in &call.callees {
        waiting.push((name, callee, at, depth));
        at += callee.nanoseconds;
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.push_str(&arguments.to_string());
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Warm, always the same for a name; builtins are blue.
fn colour(name: &str) -> String {
    let sum = name.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let (a, b) = (sum % 55, sum / 55 % 120);
    if name.starts_with("builtins.") {
        return format!("rgb({},{},{})", 80 + b / 2, 140 + a, 230);
    }
    format!("rgb({},{},{})", 205 + a % 50, 100 + b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stacks() -> Vec<Stack> {
        let stack = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        vec![
            (stack(&["evaluation"]), 1_000_000),
            (stack(&["evaluation", "f (<a>:1)"]), 3_000_000),
            (stack(&["evaluation", "f (<a>:1)", "builtins.map"]), 6_000_000),
            (stack(&["evaluation", "g"]), 10),
        ]
    }

    #[test]
    fn lines_have_microseconds() {
        assert_eq!(
            folded(&stacks()),
            "evaluation 1000\nevaluation;f (<a>:1) 3000\nevaluation;f (<a>:1);builtins.map 6000\n"
        );
    }

    #[test]
    fn boxes_are_as_wide_as_their_time() {
        let picture = svg(&stacks());
        assert_eq!(picture.matches("<g>").count(), 3, "{picture}");
        for part in ["f (&lt;a&gt;:1)\n9.00 ms, 90.00 %", "width=\"1080.00\"", "width=\"720.00\"", "0.010 s"]
        {
            assert!(picture.contains(part), "no {part} in {picture}");
        }
    }

    #[test]
    fn depth_is_no_matter() {
        let names = (0..50_000).map(|number| format!("f{number}")).collect();
        assert_eq!(svg(&[(names, 1_000)]).matches("<g>").count(), 50_000);
    }
}
