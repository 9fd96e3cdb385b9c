//! Lines as tokens, by the compiler's own lexer: no character is lost, blanks are tokens too.

use ra_ap_rustc_lexer::{FrontmatterAllowed, LiteralKind, TokenKind, tokenize};

/// How a token is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    Blank,
    Keyword,
    /// A name that is called.
    Function,
    /// A name with a capital, or a lifetime.
    Type,
    /// Any other name.
    Name,
    String,
    Number,
    Comment,
    Punctuation,
}

impl Class {
    /// Its letter in the page; `None` if it is drawn as plain text.
    pub fn letter(self) -> char {
        match self {
            Class::Keyword => 'k',
            Class::Function => 'f',
            Class::Type => 't',
            Class::String => 's',
            Class::Number => 'n',
            Class::Comment => 'c',
            Class::Blank | Class::Name | Class::Punctuation => '.',
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    pub text: String,
    pub class: Class,
}

impl Token {
    pub fn is(&self, text: &str) -> bool {
        self.text == text && self.class != Class::String && self.class != Class::Comment
    }

    pub fn is_name(&self) -> bool {
        matches!(self.class, Class::Function | Class::Type | Class::Name)
    }
}

const KEYWORDS: [&str; 37] = [
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern",
    "false", "fn", "for", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub",
    "ref", "return", "self", "static", "struct", "super", "trait", "true", "type", "unsafe", "use",
    "where", "while",
];

/// The text as a list of tokens for each line. Joined, they are the text again.
pub fn lines(text: &str) -> Vec<Vec<Token>> {
    let mut lines = vec![Vec::new()];
    let mut at = 0;
    for token in tokenize(text, FrontmatterAllowed::No) {
        let end = at + token.len as usize;
        let class = class(token.kind, &text[at..end], &text[end..]);
        // Comments, strings and blanks may span several lines.
        for (n, piece) in text[at..end].split('\n').enumerate() {
            if n > 0 {
                lines.push(Vec::new());
            }
            let line = lines.last_mut().expect("there is always a line");
            match class {
                Class::Comment | Class::String => line.extend(words(piece, class)),
                _ if piece.is_empty() => {}
                _ => line.push(Token { text: piece.to_string(), class }),
            }
        }
        at = end;
    }
    if text.ends_with('\n') {
        lines.pop();
    }
    lines
}

/// A sentence, in a comment or a string, word by word.
fn words(text: &str, class: Class) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    for c in text.chars() {
        let class = if c.is_whitespace() { Class::Blank } else { class };
        match tokens.last_mut() {
            Some(last) if last.class == class => last.text.push(c),
            _ => tokens.push(Token { text: c.to_string(), class }),
        }
    }
    tokens
}

fn class(kind: TokenKind, text: &str, rest: &str) -> Class {
    match kind {
        TokenKind::Whitespace => Class::Blank,
        TokenKind::LineComment { .. } | TokenKind::BlockComment { .. } => Class::Comment,
        TokenKind::Lifetime { .. } | TokenKind::RawLifetime => Class::Type,
        TokenKind::Literal {
            kind: LiteralKind::Int { .. } | LiteralKind::Float { .. }, ..
        } => Class::Number,
        TokenKind::Literal { .. } => Class::String,
        TokenKind::Ident if KEYWORDS.contains(&text) => Class::Keyword,
        TokenKind::Ident | TokenKind::RawIdent if text.starts_with(char::is_uppercase) => {
            Class::Type
        }
        TokenKind::Ident | TokenKind::RawIdent if rest.starts_with(['(']) => Class::Function,
        TokenKind::Ident | TokenKind::RawIdent if rest.starts_with("::<") => Class::Function,
        TokenKind::Ident | TokenKind::RawIdent => Class::Name,
        _ => Class::Punctuation,
    }
}

/// How many columns of a terminal or a page the tokens take.
pub fn width(tokens: &[Token]) -> usize {
    tokens.iter().map(|token| token.text.chars().count()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(text: &str) -> String {
        lines(text)[0].iter().map(|token| token.class.letter()).collect()
    }

    #[test]
    fn nothing_is_lost() {
        let text = "fn f<'a>(x: &'a str) {\n    /* one\n two */ \"a\nb\";\n\n}\n";
        let put_together = |line: &Vec<Token>| line.iter().map(|t| t.text.as_str()).collect();
        let again: Vec<String> = lines(text).iter().map(put_together).collect();
        assert_eq!(again.join("\n") + "\n", text);
    }

    #[test]
    fn a_line_is_split_where_the_compiler_splits_it() {
        let line = &lines("tasks.push(thread::spawn(move || fetch(job)));")[0];
        let texts: Vec<&str> = line.iter().map(|token| token.text.as_str()).collect();
        let wanted = "tasks . push ( thread : : spawn ( move  | |  fetch ( job ) ) ) ;";
        assert_eq!(texts.join(" "), wanted.replace("  |", "   |").replace("|  f", "|   f"));
    }

    #[test]
    fn names_are_told_apart_by_how_they_are_used() {
        assert_eq!(classes("let mut v = Vec::new();"), "k.k.....t..f...");
        assert_eq!(classes("x.collect::<Vec<_>>()"), "..f...t......");
        assert_eq!(classes("// let it be"), "c.c.c.c");
        assert_eq!(classes("f(1, \"two\", 'c')"), "f.n..s..s.");
    }

    #[test]
    fn a_newline_at_the_end_adds_no_empty_line() {
        assert_eq!(lines("a\nb\n").len(), 2);
        assert_eq!(lines("a\n\nb").len(), 3);
    }
}
