//! A Rust source file as the rules see it: comments and literals told apart from code, test parts
//! and functions found.
//!
//! No parser is needed for that: a scanner that knows comments, strings and characters, and counts
//! braces, is exact for sources that `cargo fmt` has laid out.

/// One file with its code and its comments in two texts of equal shape: what belongs to the other
/// is blanked.
pub struct Source {
    /// Path from the root of the repository, with `/`.
    pub path: String,
    /// Everything.
    pub text: String,
    /// Comments and the inside of literals blanked.
    pub code: String,
    /// Everything but comments blanked.
    pub comments: String,
    /// For each line: it belongs to a `#[cfg(test)]` item.
    pub test_lines: Vec<bool>,
}

/// What a character belongs to.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

impl Source {
    /// Takes a text apart.
    pub fn new(path: &str, text: &str) -> Source {
        let chars: Vec<char> = text.chars().collect();
        let kinds = classify(&chars);
        let only = |wanted: Kind| -> String {
            let keep = |(c, k): (&char, &Kind)| if *k == wanted || *c == '\n' { *c } else { ' ' };
            chars.iter().zip(&kinds).map(keep).collect()
        };
        let code = only(Kind::Code);
        let is_test_file = path.ends_with("tests.rs")
            || path.contains("/tests/")
            || ["tests/", "benches/"].iter().any(|folder| path.starts_with(folder));
        let test_lines = match is_test_file {
            true => vec![true; text.lines().count()],
            false => tests_in(&code),
        };
        let comments = only(Kind::Comment);
        Source { path: path.to_string(), text: text.to_string(), code, comments, test_lines }
    }

    /// Line number (from 1) and code of each line outside tests.
    pub fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = |n: usize| self.test_lines.get(n).copied().unwrap_or(false);
        self.code.lines().enumerate().filter(move |(n, _)| !is_test(*n)).map(|(n, l)| (n + 1, l))
    }

    /// Names of modules that are compiled for tests only and live in files of their own.
    pub fn test_modules(&self) -> Vec<String> {
        let lines: Vec<&str> = self.code.lines().collect();
        let name = |line: &str| {
            let (_, declared) = line.split_once("mod ")?;
            Some(declared.trim().strip_suffix(';')?.to_string())
        };
        lines
            .windows(2)
            .filter(|pair| pair[0].trim() == "#[cfg(test)]")
            .filter_map(|pair| name(pair[1]))
            .collect()
    }

    /// Treats every line as a test.
    pub fn mark_as_test(&mut self) {
        self.test_lines.fill(true);
    }

    /// Room of the file: the first part of its path below `src/`; None outside.
    pub fn room(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src/")?;
        Some(below.split('/').next().unwrap_or(below).trim_end_matches(".rs"))
    }

    /// `(first line, last line, name)` of every function with a body.
    pub fn functions(&self) -> Vec<(usize, usize, String)> {
        let code: Vec<char> = self.code.chars().collect();
        let mut found = Vec::new();
        for at in words(&code, "fn") {
            let rest: String = code[at + 2..].iter().take(80).collect();
            let name: String = rest.trim_start().chars().take_while(|c| is_word(*c)).collect();
            if let (false, Some((open, '{'))) = (name.is_empty(), body_or_end(&code, at)) {
                let close = closing(&code, open);
                found.push((line_of(&code, at), line_of(&code, close), name));
            }
        }
        found
    }
}

/// Marks every character. Attributes and macros are code.
fn classify(chars: &[char]) -> Vec<Kind> {
    let mut kinds = vec![Kind::Code; chars.len()];
    let mut at = 0;
    while at < chars.len() {
        let (kind, end) = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => (Kind::Comment, line_end(chars, at)),
            '/' if chars.get(at + 1) == Some(&'*') => (Kind::Comment, block_comment_end(chars, at)),
            '"' => (Kind::Literal, string_end(chars, at)),
            'r' if !follows_word(chars, at) => match raw_string_end(chars, at) {
                Some(end) => (Kind::Literal, end),
                None => (Kind::Code, at + 1),
            },
            '\'' => match char_end(chars, at) {
                Some(end) => (Kind::Literal, end),
                None => (Kind::Code, at + 1),
            },
            _ => (Kind::Code, at + 1),
        };
        kinds[at..end].fill(kind);
        at = end;
    }
    kinds
}

fn line_end(chars: &[char], from: usize) -> usize {
    (from..chars.len()).find(|&i| chars[i] == '\n').unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') if depth == 1 => return at + 2,
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// End of a raw string (`r"..."`, `r##"..."##`), if one begins here.
fn raw_string_end(chars: &[char], from: usize) -> Option<usize> {
    let hashes = chars[from + 1..].iter().take_while(|c| **c == '#').count();
    let open = from + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let closes = |i: &usize| {
        chars[*i] == '"'
            && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    Some((open + 1..chars.len()).find(closes).map_or(chars.len(), |i| i + 1 + hashes))
}

/// End of a character literal; None if it is a lifetime.
fn char_end(chars: &[char], from: usize) -> Option<usize> {
    match chars.get(from + 1)? {
        '\\' => {
            let close = (from + 3..chars.len()).find(|&i| chars[i] == '\'')?;
            Some(close + 1)
        }
        _ => (chars.get(from + 2) == Some(&'\'')).then_some(from + 3),
    }
}

/// True if the character before `at` continues a word (so `r` in `for"` is no raw string), `b` and
/// `c` prefixes aside.
fn follows_word(chars: &[char], at: usize) -> bool {
    let before = |n: usize| at.checked_sub(n).map(|i| chars[i]);
    match before(1) {
        Some('b' | 'c') => before(2).is_some_and(is_word),
        Some(c) => is_word(c),
        None => false,
    }
}

/// True for letters, digits and underscore.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Positions where `word` stands alone.
pub fn words(code: &[char], word: &str) -> Vec<usize> {
    let word: Vec<char> = word.chars().collect();
    let fits = |at: &usize| {
        code[*at..].starts_with(&word)
            && !at.checked_sub(1).is_some_and(|i| is_word(code[i]))
            && !code.get(at + word.len()).copied().is_some_and(is_word)
    };
    (0..code.len()).filter(fits).collect()
}

/// Line number from 1.
pub fn line_of(code: &[char], at: usize) -> usize {
    code[..at.min(code.len())].iter().filter(|c| **c == '\n').count() + 1
}

/// The `{` or `;` that ends an item's head, outside brackets.
fn body_or_end(code: &[char], from: usize) -> Option<(usize, char)> {
    let mut depth = 0i32;
    for (at, c) in code.iter().enumerate().skip(from) {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' | ';' if depth == 0 => return Some((at, *c)),
            _ => {}
        }
    }
    None
}

/// Position of the brace that closes the one at `open`.
fn closing(code: &[char], open: usize) -> usize {
    let mut depth = 0i32;
    for (at, c) in code.iter().enumerate().skip(open) {
        depth += i32::from(*c == '{') - i32::from(*c == '}');
        if depth == 0 {
            return at;
        }
    }
    code.len()
}

/// Lines of `#[cfg(test)]` items, attribute included.
fn tests_in(code: &str) -> Vec<bool> {
    let mut lines = vec![false; code.lines().count()];
    let chars: Vec<char> = code.chars().collect();
    let marker: Vec<char> = "#[cfg(test)]".chars().collect();
    for at in (0..chars.len()).filter(|&i| chars[i..].starts_with(&marker)) {
        let Some((end, what)) = body_or_end(&chars, at + marker.len()) else { continue };
        let last = if what == '{' { closing(&chars, end) } else { end };
        let (first, last) = (line_of(&chars, at), line_of(&chars, last));
        let last = last.min(lines.len());
        lines[first - 1..last].fill(true);
    }
    lines
}

/// Self-tests of the scanner.
#[test]
fn the_scanner_tells_code_from_comment_and_literal() {
    let text =
        "fn a<'x>() { b(\"// no } {\", '{', '\\'', r#\"\"{\"#); } // c {\n/* { /* */ */ fn d();\n";
    let source = Source::new("src/a.rs", text);
    assert_eq!(source.text.chars().count(), source.code.chars().count());
    assert!(!source.code.contains("no") && !source.code.contains('"'));
    assert!(source.code.contains("fn a<'x>()") && source.code.contains("fn d();"));
    assert!(source.comments.contains("// c {") && !source.comments.contains("no"));
    assert_eq!(source.functions(), [(1, 1, "a".to_string())]);
}

#[test]
fn test_items_and_function_ends_are_found() {
    let text = "fn a(x: [u8; 2])\n{\n    if x { }\n}\n#[cfg(test)]\nmod tests {\n    fn t() {}\n}\n\
                fn b() {}\n#[cfg(test)]\npub(crate) mod more;\nfn c() {}\n";
    let source = Source::new("src/a.rs", text);
    assert_eq!(source.functions()[0], (1, 4, "a".to_string()));
    let outside: Vec<usize> = source.production().map(|(n, _)| n).collect();
    assert_eq!(outside, [1, 2, 3, 4, 9, 12]);
    assert_eq!(source.test_modules(), ["more"]);
    for path in ["src/plan/tests.rs", "src/plan/order_tests.rs", "src/data/tests/golden.rs"] {
        assert!(Source::new(path, "fn a() {}\n").production().next().is_none(), "{path}");
    }
}
