//! The picture of a gateway.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table as Grid};

use super::view::{Table, View};
use crate::cli::tables::rows::{Pool, Route};
use crate::cli::tables::table::Emphasis;
use crate::cli::tables::words::{rate, share, time};
use crate::cli::tables::{pools, routes};

/// The problems that are shown; `/api/status` has the others.
const PROBLEMS_MAX: usize = 3;

/// The lines of the chart.
const CHART: u16 = 4;

/// Draws the view: the process, its requests as a chart, problems, and a table.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, url: &str) {
    let problems = view.look.status.problems.len().min(PROBLEMS_MAX) + usize::from(view.error.is_some());
    let parts = [
        Constraint::Length(2),
        Constraint::Length(CHART),
        Constraint::Length(u16::try_from(problems).unwrap_or(0)),
        Constraint::Min(3),
        Constraint::Length(1),
    ];
    let [head, chart, troubles, table, foot] = Layout::vertical(parts).areas(frame.area());
    frame.render_widget(Paragraph::new(process(view, url)), head);
    draw_chart(frame, view, chart);
    frame.render_widget(Paragraph::new(problem_lines(view)), troubles);
    draw_table(frame, view, table);
    frame.render_widget(Paragraph::new(help(view)).style(Style::new().fg(Color::DarkGray)), foot);
}

fn process(view: &View, url: &str) -> Vec<Line<'static>> {
    let status = &view.look.status;
    let in_sync = if status.in_sync { "" } else { ", files on disk refused" };
    let name = format!("gateway {}", status.version);
    let state = format!("  {url}  {}  generation {}{in_sync}", status.state, status.generation);
    let numbers = format!(
        "req/s {}  errors {}  p50 {}  p99 {}  in flight {}  clients {}",
        rate(status.recent.rate),
        share(status.recent.error_share),
        time(status.recent.p50_seconds),
        time(status.recent.p99_seconds),
        status.requests_in_flight,
        status.client_connections,
    );
    let bold = Style::new().add_modifier(Modifier::BOLD);
    vec![Line::from(vec![Span::styled(name, bold), Span::raw(state)]), Line::from(numbers)]
}

fn draw_chart(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let requests = &view.look.requests;
    // The newest at the right edge.
    let shown = requests.len().saturating_sub(usize::from(area.width));
    let most = requests.iter().skip(shown).max().copied().unwrap_or_default();
    let title = format!(" requests, 5 s each, at most {most} ");
    let block = Block::new().borders(Borders::TOP).title(title);
    let data: Vec<u64> = requests.iter().skip(shown).copied().collect();
    frame.render_widget(
        Sparkline::default().block(block).data(data).style(Style::new().fg(Color::Cyan)),
        area,
    );
}

fn problem_lines(view: &View) -> Vec<Line<'static>> {
    let problems = view.look.status.problems.iter().take(PROBLEMS_MAX).map(|problem| {
        let color = if problem.severity == "error" { Color::Red } else { Color::Yellow };
        Line::styled(format!("! {}", problem.text), Style::new().fg(color))
    });
    let error =
        view.error.iter().map(|error| Line::styled(format!("! {error}"), Style::new().fg(Color::Red)));
    error.chain(problems).collect()
}

fn draw_table(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let (routes, pools) = (view.look.routes.len(), view.look.pools.len());
    let marked = |is_shown, text: String| {
        let style = if is_shown { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        Span::styled(text, style)
    };
    let title = Line::from(vec![
        marked(view.table == Table::Routes, format!(" {routes} routes ")),
        marked(view.table == Table::Pools, format!(" {pools} pools ")),
        Span::raw(format!(" by {} ", view.order.name())),
        Span::raw(if view.filter.is_empty() { String::new() } else { format!("/{} ", view.filter) }),
    ]);
    let block = Block::new().borders(Borders::TOP).title(title);
    let number = Constraint::Length;
    let (titles, rows, widths): (Vec<&str>, Vec<Row<'_>>, Vec<Constraint>) = match view.table {
        Table::Routes => (
            vec!["ROUTE", "MATCH", "REQ/S", "ERRORS", "P50", "P99", "OPEN"],
            view.routes().iter().skip(view.scrolled).map(route_row).collect(),
            vec![
                Constraint::Fill(1),
                Constraint::Fill(2),
                number(7),
                number(7),
                number(7),
                number(7),
                number(6),
            ],
        ),
        Table::Pools => (
            vec!["POOL", "ADDRESS", "USED/MAX", "IDLE", "WAIT", "REQ/S", "REUSE", "P99", "STATE"],
            view.pools().iter().skip(view.scrolled).map(pool_row).collect(),
            vec![
                Constraint::Fill(1),
                Constraint::Fill(2),
                number(9),
                number(5),
                number(5),
                number(7),
                number(6),
                number(7),
                number(12),
            ],
        ),
    };
    let header = Row::new(titles).style(Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(Grid::new(rows, widths).header(header).block(block), area);
}

fn emphasized(cells: Vec<String>, emphasis: Emphasis) -> Row<'static> {
    let style = match emphasis {
        Emphasis::Error => Style::new().fg(Color::Red),
        Emphasis::Warning => Style::new().fg(Color::Yellow),
        Emphasis::Plain => Style::new(),
    };
    Row::new(cells.into_iter().map(Cell::from)).style(style)
}

fn route_row(route: &Route) -> Row<'static> {
    emphasized(routes::cells(route), routes::emphasis(route))
}

fn pool_row(pool: &Pool) -> Row<'static> {
    emphasized(pools::cells(pool), pools::emphasis(pool))
}

fn help(view: &View) -> String {
    if view.is_writing {
        return format!("/{}_  enter keeps the filter, esc clears it", view.filter);
    }
    "tab routes/pools  s order  / filter  arrows scroll  q quit".to_owned()
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::look::{Look, Problem, Status};
    use super::super::view::Key;
    use super::*;
    use crate::cli::tables::rows::RouteRecent;

    fn picture(view: &View) -> String {
        let mut terminal = Terminal::new(TestBackend::new(80, 16)).unwrap();
        terminal.draw(|frame| draw(frame, view, "http://127.0.0.1:9901")).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn picture_has_the_process_a_chart_problems_and_a_table() {
        let recent = RouteRecent { rate: 355.2, error_share: Some(0.02), ..RouteRecent::default() };
        let problem = Problem { severity: "error".to_owned(), text: "10.0.0.1 is ejected".to_owned() };
        let status = Status {
            version: "0.1.0".to_owned(),
            state: "ready".to_owned(),
            generation: 3,
            in_sync: true,
            recent: recent.clone(),
            problems: vec![problem],
            ..Status::default()
        };
        let routes = vec![Route { name: "users".to_owned(), recent, ..Route::default() }];
        let pool = Pool { pool: "orders".to_owned(), health: "ejected".to_owned(), ..Pool::default() };
        let mut view = View::new();
        view.see(Ok(Look { status, routes, pools: vec![pool], requests: vec![1, 9, 4] }));
        let text = picture(&view);
        for part in [
            "gateway 0.1.0  http://127.0.0.1:9901  ready  generation 3",
            "req/s 355  errors 2%",
            "at most 9",
            "! 10.0.0.1 is ejected",
            " 1 routes  1 pools  by attention",
            "users",
            "q quit",
        ] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
        assert!(text.contains('█'), "the chart:\n{text}");
        view.press(Key::Tab);
        view.see(Err("no answer within 10s".to_owned()));
        let text = picture(&view);
        assert!(
            text.contains("orders") && text.contains("ejected") && text.contains("! no answer"),
            "{text}"
        );
    }
}
