//! A table for a terminal.

/// A column. Numbers are aligned to the right; names give room to others on a narrow terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column {
    Name(&'static str),
    Number(&'static str),
    /// The last column: text that goes on to the edge.
    Text(&'static str),
}

/// The emphasis of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Emphasis {
    /// Requests fail.
    Error,
    /// Requests wait.
    Warning,
    Plain,
}

/// A row: a cell for each column.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) emphasis: Emphasis,
    pub(crate) cells: Vec<String>,
}

/// The medium that a table is written for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Medium {
    /// The characters of a line; `None` if there is no edge.
    pub(crate) width: Option<usize>,
    pub(crate) has_colors: bool,
}

/// The least characters of a name.
const NAME_MIN: usize = 8;

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Name(title) | Self::Number(title) | Self::Text(title) => title,
        }
    }
}

/// Returns the lines of a table, its titles first.
pub(crate) fn lines(columns: &[Column], rows: &[Row], medium: Medium) -> String {
    let mut widths: Vec<usize> = columns.iter().map(|column| column.title().chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(&row.cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    if let Some(edge) = medium.width {
        shrink(columns, &mut widths, edge);
    }
    let mut text = String::new();
    let titles: Vec<String> = columns.iter().map(|column| column.title().to_owned()).collect();
    let titles = line(columns, &widths, &titles);
    push(&mut text, &titles, medium.has_colors.then_some("1"));
    for row in rows {
        let color = match row.emphasis {
            Emphasis::Error => Some("31"),
            Emphasis::Warning => Some("33"),
            Emphasis::Plain => None,
        };
        push(&mut text, &line(columns, &widths, &row.cells), color.filter(|_| medium.has_colors));
    }
    text
}

fn push(text: &mut String, line: &str, color: Option<&str>) {
    match color {
        Some(color) => text.extend(["\x1b[", color, "m", line, "\x1b[0m\n"]),
        None => text.extend([line, "\n"]),
    }
}

/// Takes width from the widest name until all columns fit, or each name is as narrow as it may be.
fn shrink(columns: &[Column], widths: &mut [usize], edge: usize) {
    loop {
        let total = widths.iter().sum::<usize>() + widths.len().saturating_sub(1);
        let names =
            columns.iter().zip(widths.iter_mut()).filter(|(column, _)| !matches!(column, Column::Number(_)));
        let widest = names.map(|(_, width)| width).filter(|width| **width > NAME_MIN).max();
        match widest {
            Some(width) if total > edge => *width -= (total - edge).min(1),
            _ => return,
        }
    }
}

fn line(columns: &[Column], widths: &[usize], cells: &[String]) -> String {
    let cells = columns.iter().zip(widths).zip(cells).map(|((column, width), cell)| match column {
        Column::Number(_) => format!("{cell:>width$}"),
        Column::Name(_) | Column::Text(_) => format!("{:<width$}", cut(cell, *width)),
    });
    let line = cells.collect::<Vec<_>>().join(" ");
    line.trim_end().to_owned()
}

/// Returns a text of at most so many characters.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] =
        [Column::Name("NAME"), Column::Number("N"), Column::Name("ADDRESS"), Column::Text("STATE")];

    fn rows() -> Vec<Row> {
        let row = |emphasis, cells: [&str; 4]| Row { emphasis, cells: cells.map(str::to_owned).into() };
        vec![
            row(Emphasis::Error, ["users-of-the-shop", "1234", "10.0.0.1:8080", "ejected"]),
            row(Emphasis::Plain, ["b", "5", "[2001:db8::1]:8080", ""]),
        ]
    }

    #[test]
    fn numbers_are_at_the_right_and_lines_end_without_blanks() {
        let text = lines(&COLUMNS, &rows(), Medium { width: None, has_colors: false });
        assert_eq!(
            text,
            "NAME                 N ADDRESS            STATE\n\
             users-of-the-shop 1234 10.0.0.1:8080      ejected\n\
             b                    5 [2001:db8::1]:8080\n"
        );
    }

    #[test]
    fn names_are_cut_until_the_lines_fit() {
        let text = lines(&COLUMNS, &rows(), Medium { width: Some(40), has_colors: true });
        assert_eq!(
            text,
            "\x1b[1mNAME             N ADDRESS       STATE\x1b[0m\n\
             \x1b[31musers-of-the… 1234 10.0.0.1:8080 ejected\x1b[0m\n\
             b                5 [2001:db8::1… \n"
                .replace("1… \n", "1…\n")
        );
        let narrow = lines(&COLUMNS, &rows(), Medium { width: Some(10), has_colors: false });
        assert!(narrow.contains("users-o… 1234"), "{narrow}");
    }
}
