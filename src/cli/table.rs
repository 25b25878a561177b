//! Tables for the terminal: columns as wide as they need, the last one cut to fit.

use crate::domain::sanitize;

/// A column other than the last is never wider than this.
const WIDEST: usize = 34;

/// Rows of `N` cells under their headings.
pub(super) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with these headings.
    pub(super) fn new(headings: [&str; N]) -> Self {
        Self {
            rows: vec![headings.map(str::to_owned)],
        }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// The table as text, no line longer than `width` characters.
    pub(super) fn render(&self, width: usize) -> String {
        let widths: Vec<usize> = (0..N)
            .map(|column| {
                self.rows
                    .iter()
                    .map(|row| row[column].chars().count())
                    .max()
                    .unwrap_or(0)
                    .min(WIDEST)
            })
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths).take(N - 1) {
                let cell = sanitize(cell, *width);
                line += &format!("{cell:<width$}  ");
            }
            line += &row[N - 1];
            text += sanitize(line.trim_end(), width).as_str();
            text.push('\n');
        }
        text
    }
}

/// The terminal's width; 200 where there is none, so that a pipe gets whole lines.
pub(super) fn terminal_width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    columns
        .or_else(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)))
        .unwrap_or(200)
}
