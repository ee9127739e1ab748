//! A text screen: what a terminal shows, with what is highlighted; as text and as SVG.

use std::fmt::Write as _;

/// One character cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// What it shows; a blank when it shows nothing.
    pub character: char,
    /// Foreground as 0xRRGGBB.
    pub foreground: u32,
    /// Background as 0xRRGGBB.
    pub background: u32,
    /// Whether it is drawn bold.
    pub bold: bool,
}

/// A copy of a terminal's screen at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screen {
    rows: Vec<Vec<Cell>>,
}

impl Screen {
    pub(crate) fn of(screen: &vt100::Screen) -> Self {
        let (rows, columns) = screen.size();
        let rows = (0..rows)
            .map(|row| (0..columns).map(|column| cell(screen.cell(row, column))).collect())
            .collect();
        Self { rows }
    }

    /// The rows as text, without blanks at their ends.
    pub fn lines(&self) -> Vec<String> {
        let text = |row: &Vec<Cell>| row.iter().map(|cell| cell.character).collect::<String>();
        self.rows.iter().map(|row| text(row).trim_end().to_owned()).collect()
    }

    /// Everything as text, without empty rows at the end.
    pub fn text(&self) -> String {
        self.lines().join("\n").trim_end().to_owned()
    }

    /// The first row whose text contains this.
    pub fn row_with(&self, text: &str) -> Option<usize> {
        self.lines().iter().position(|line| line.contains(text))
    }

    /// Whether a text in a row stands on a light background or inverted, as menus show the selected entry.
    pub fn is_highlighted(&self, row: usize, text: &str) -> bool {
        let Some(cells) = self.rows.get(row) else { return false };
        let line: String = cells.iter().map(|cell| cell.character).collect();
        let Some(start) = line.find(text).map(|at| line.get(..at).map_or(0, |head| head.chars().count()))
        else {
            return false;
        };
        let length = text.chars().count();
        let light =
            cells.iter().skip(start).take(length).filter(|cell| luminance(cell.background) > 110).count();
        light * 2 > length
    }

    /// The first row of which most of the written cells are highlighted.
    pub fn highlighted_row(&self) -> Option<usize> {
        self.rows.iter().position(|cells| {
            let written: Vec<&Cell> = cells.iter().filter(|cell| cell.character.is_alphanumeric()).collect();
            let light = written.iter().filter(|cell| luminance(cell.background) > 110).count();
            !written.is_empty() && light * 2 > written.len()
        })
    }

    /// As a picture: SVG 1.1 with one text element a row, for documentation.
    pub fn to_svg(&self) -> String {
        const WIDTH: usize = 9;
        const HEIGHT: usize = 18;
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let written = self.lines().iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
        let (w, h) = (columns * WIDTH, written * HEIGHT);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" \
             font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"15\" xml:space=\"preserve\">\n\
             <rect width=\"{w}\" height=\"{h}\" fill=\"#000000\"/>\n"
        );
        for (y, row) in self.rows.iter().take(written).enumerate() {
            let mut column = 0;
            for run in row
                .chunk_by(|a, b| (a.foreground, a.background, a.bold) == (b.foreground, b.background, b.bold))
            {
                let Some(first) = run.first() else { continue };
                let x = column * WIDTH;
                column += run.len();
                let (top, width) = (y * HEIGHT, run.len() * WIDTH);
                // Writing to a string cannot fail.
                if first.background != 0 {
                    writeln!(
                        svg,
                        "<rect x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"{HEIGHT}\" fill=\"#{:06x}\"/>",
                        first.background
                    )
                    .unwrap_or_default();
                }
                let text: String = run.iter().map(|cell| cell.character).collect();
                if !text.trim().is_empty() {
                    let weight = if first.bold { " font-weight=\"bold\"" } else { "" };
                    writeln!(
                        svg,
                        "<text x=\"{x}\" y=\"{}\" textLength=\"{width}\" lengthAdjust=\"spacingAndGlyphs\" \
                         fill=\"#{:06x}\"{weight}>{}</text>",
                        top + HEIGHT - 5,
                        first.foreground,
                        escape(&text)
                    )
                    .unwrap_or_default();
                }
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace(' ', "\u{a0}")
}

fn luminance(colour: u32) -> u32 {
    let [_, r, g, b] = colour.to_be_bytes().map(u32::from);
    (r * 299 + g * 587 + b * 114) / 1000
}

fn cell(cell: Option<&vt100::Cell>) -> Cell {
    let Some(cell) = cell else {
        return Cell { character: ' ', foreground: 0xAA_AAAA, background: 0, bold: false };
    };
    let mut colours = (colour(cell.fgcolor(), 0xAA_AAAA, cell.bold()), colour(cell.bgcolor(), 0, false));
    if cell.inverse() {
        colours = (colours.1, colours.0);
    }
    Cell {
        character: cell.contents().chars().next().unwrap_or(' '),
        foreground: colours.0,
        background: colours.1,
        bold: cell.bold(),
    }
}

/// The sixteen colours of a VGA text screen; the other 240 of xterm's palette are shown as the default.
fn colour(colour: vt100::Color, default: u32, bright: bool) -> u32 {
    const PALETTE: [u32; 16] = [
        0x00_0000, 0xAA_0000, 0x00_AA00, 0xAA_5500, 0x00_00AA, 0xAA_00AA, 0x00_AAAA, 0xAA_AAAA, 0x55_5555,
        0xFF_5555, 0x55_FF55, 0xFF_FF55, 0x55_55FF, 0xFF_55FF, 0x55_FFFF, 0xFF_FFFF,
    ];
    match colour {
        vt100::Color::Default => default,
        vt100::Color::Idx(index) => {
            let index = usize::from(index) + if bright && index < 8 { 8 } else { 0 };
            PALETTE.get(index).copied().unwrap_or(default)
        }
        vt100::Color::Rgb(r, g, b) => u32::from_be_bytes([0, r, g, b]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(bytes: &[u8]) -> Screen {
        let mut parser = vt100::Parser::new(5, 40, 0);
        parser.process(bytes);
        Screen::of(parser.screen())
    }

    #[test]
    fn the_selected_entry_is_seen_in_both_styles() {
        // systemd-boot through OVMF: black on white; GRUB: reverse video.
        for selected in ["\x1b[0;30;47m", "\x1b[7m"] {
            let drawn =
                format!("\x1b[2J\x1b[1;3HFirn (Generation 2)\x1b[2;3H{selected}Firn (Generation 1)\x1b[0m");
            let screen = screen(drawn.as_bytes());
            assert_eq!(screen.highlighted_row(), Some(1));
            assert!(screen.is_highlighted(1, "Generation 1"));
            assert!(!screen.is_highlighted(0, "Generation 2"));
            assert_eq!(screen.text(), "  Firn (Generation 2)\n  Firn (Generation 1)");
        }
    }

    #[test]
    fn svg_holds_the_text_and_is_escaped() {
        let svg = screen(b"a < b & \x1b[31mred\x1b[0m").to_svg();
        assert!(svg.contains("a\u{a0}&lt;\u{a0}b\u{a0}&amp;") && svg.contains("#aa0000"), "{svg}");
        assert!(svg.ends_with("</svg>\n"));
    }
}
