//! The differences that are meant: rows of docs/compatibility.md.

/// Rows `| step | difference | why |`; `*` stands for any text in the first two, which are in backquotes.
pub struct Known {
    rows: Vec<Row>,
}

struct Row {
    step: String,
    difference: String,
    used: bool,
}

impl Known {
    pub fn read() -> Known {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compatibility.md");
        let text = std::fs::read_to_string(path).expect("docs/compatibility.md");
        let section = text
            .split("\n## ")
            .find(|section| section.starts_with("Differences found by the referee"))
            .expect("the section of differences");
        Known {
            rows: section.lines().filter_map(row).collect(),
        }
    }

    pub fn explains(&mut self, step: &str, difference: &str) -> bool {
        let fits =
            |row: &&mut Row| matches(&row.step, step) && matches(&row.difference, difference);
        let Some(row) = self.rows.iter_mut().find(fits) else {
            return false;
        };
        row.used = true;
        true
    }

    pub fn unused(&self) -> Vec<String> {
        let unused = self.rows.iter().filter(|row| !row.used);
        unused
            .map(|row| format!("{} | {}", row.step, row.difference))
            .collect()
    }
}

fn row(line: &str) -> Option<Row> {
    let mut cells = line.strip_prefix("| `")?.splitn(3, "` | ");
    let step = cells.next()?.to_owned();
    let difference = cells.next()?.strip_prefix('`')?.to_owned();
    Some(Row {
        step,
        difference,
        used: false,
    })
}

/// Whether a text is what a pattern says, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            let mut starts = tail.char_indices().map(|(at, _)| at).chain([tail.len()]);
            starts.any(|at| matches(rest, &tail[at..]))
        }),
    }
}

#[test]
fn a_star_stands_for_any_text() {
    assert!(matches("a*c", "abbc") && matches("*", "") && matches("a*", "a") && matches("a", "a"));
    assert!(matches("*b*d", "abcd") && !matches("*b*d", "abc") && !matches("a", "ab"));
}

#[test]
fn a_row_has_three_cells() {
    let row = row("| `step *` | `remark: a | b` | why |").expect("a row");
    assert_eq!(
        (row.step.as_str(), row.difference.as_str()),
        ("step *", "remark: a | b")
    );
    assert!(self::row("| --- | --- | --- |").is_none());
}
