//! Tables for the terminal: columns as wide as they need, the last one cut to fit.

use anstyle::Style;

use crate::domain::sanitize;

/// The space between two columns.
const GAP: usize = 2;

/// A text in its colour.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// `text` in the look of `style`.
    pub(super) fn new(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text.into(),
            style,
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(text, Style::new())
    }
}

/// Rows of cells under their headings.
pub(super) struct Table {
    widest: Vec<usize>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these headings, each with the most characters that its column may have.
    pub(super) fn new(columns: &[(&str, usize)]) -> Self {
        let heading = |(text, _): &(&str, usize)| Cell::new(*text, Style::new().bold());
        Self {
            widest: columns.iter().map(|(_, widest)| *widest).collect(),
            rows: vec![columns.iter().map(heading).collect()],
        }
    }

    /// Adds a row, one cell for each column.
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table as text with colours, no line longer than `width` characters.
    pub(super) fn render(&self, width: usize) -> String {
        let widths: Vec<usize> = (0..self.widest.len()).map(|i| self.width_of(i)).collect();
        self.rows
            .iter()
            .map(|row| line(row, &widths, width))
            .collect()
    }

    fn width_of(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        let longest = cells.map(|cell| cell.text.chars().count()).max();
        longest.unwrap_or(0).min(self.widest[column])
    }
}

fn line(row: &[Cell], widths: &[usize], mut room: usize) -> String {
    let mut line = String::new();
    let mut gap = 0;
    for (cell, width) in row.iter().zip(widths) {
        let text = sanitize(&cell.text, (*width).min(room));
        let (style, blank) = (cell.style, (*width).min(room) - text.chars().count());
        if !text.is_empty() {
            line += &" ".repeat(gap);
            line += &format!("{style}{text}{style:#}");
            gap = 0;
        }
        // The space before a column is written with the column, so that no line ends in blanks.
        gap += blank + GAP;
        room = room.saturating_sub(width + GAP);
    }
    line.push('\n');
    line
}

/// The terminal's width; 200 where there is none, so that a pipe gets whole lines.
pub(super) fn terminal_width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    columns
        .or_else(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)))
        .unwrap_or(200)
}
