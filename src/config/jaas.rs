//! The JAAS file, as far as SASL DIGEST-MD5 needs it: the users of each section, and their passwords.
//!
//! ```text
//! Server {
//!     org.apache.zookeeper.server.auth.DigestLoginModule required
//!     user_super="secret"
//!     user_bob="hunter2";
//! };
//! ```
//! The syntax is that of `sun.security.provider.ConfigFile`: words, quoted strings, `{ } ; =`, comments `//`, `/* */`
//! and `#`. Sections with other names are skipped. A file without the section turns SASL off, as in ZooKeeper.

use std::collections::BTreeMap;

/// The login module whose passwords are in the file itself.
const DIGEST_LOGIN_MODULE: &str = "org.apache.zookeeper.server.auth.DigestLoginModule";

/// What is wrong, and in which line. Lines are counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub struct JaasError {
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// The users of `section`, with their passwords. None: there is no such section. The section is `Server`, unless
/// `zookeeper.sasl.serverconfig` names another.
pub fn users(text: &str, section: &str) -> Result<Option<BTreeMap<String, String>>, JaasError> {
    let mut tokens = Tokens { rest: text, line: 1 };
    let mut found = None;
    while let Some(token) = tokens.next()? {
        let name = tokens.word(token, "the name of a section")?;
        tokens.expect(Token::Open, "`{` behind the section's name")?;
        let wanted = name == section;
        let users = read_section(&mut tokens, wanted)?;
        if wanted && found.is_none() {
            found = Some(users);
        }
    }
    Ok(found)
}

/// Reads the modules of a section up to `};`. Only the wanted section must consist of `DIGEST_LOGIN_MODULE`.
fn read_section(tokens: &mut Tokens<'_>, wanted: bool) -> Result<BTreeMap<String, String>, JaasError> {
    let mut users = BTreeMap::new();
    loop {
        let token = tokens.need("a login module or `}`")?;
        if token == Token::Close {
            tokens.expect(Token::Semicolon, "`;` behind `}`")?;
            return Ok(users);
        }
        let module = tokens.word(token, "the class of a login module")?;
        if wanted && module != DIGEST_LOGIN_MODULE {
            return Err(tokens.error(format!("login module {module} is not known here; use {DIGEST_LOGIN_MODULE}")));
        }
        let token = tokens.need("the module's flag")?;
        let flag = tokens.word(token, "required, requisite, sufficient or optional")?;
        if !["required", "requisite", "sufficient", "optional"].iter().any(|known| flag.eq_ignore_ascii_case(known)) {
            return Err(tokens.error(format!("`{flag}` is no flag; write `required`")));
        }
        loop {
            let token = tokens.need("an option or `;`")?;
            if token == Token::Semicolon {
                break;
            }
            let option = tokens.word(token, "an option or `;`")?;
            tokens.expect(Token::Equals, "`=` behind the option's name")?;
            let value = tokens.need("the option's value")?;
            let value = tokens.word(value, "the option's value")?;
            if let Some(user) = option.strip_prefix("user_") {
                users.insert(user.to_owned(), value);
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    Semicolon,
    Equals,
    Word(String),
}

struct Tokens<'a> {
    rest: &'a str,
    line: usize,
}

impl Tokens<'_> {
    fn error(&self, what: String) -> JaasError {
        JaasError { line: self.line, what }
    }

    fn need(&mut self, expected: &str) -> Result<Token, JaasError> {
        match self.next()? {
            Some(token) => Ok(token),
            None => Err(self.error(format!("the file ends where {expected} should stand"))),
        }
    }

    fn expect(&mut self, token: Token, expected: &str) -> Result<(), JaasError> {
        if self.need(expected)? == token { Ok(()) } else { Err(self.error(format!("expected {expected}"))) }
    }

    fn word(&self, token: Token, expected: &str) -> Result<String, JaasError> {
        match token {
            Token::Word(word) => Ok(word),
            _ => Err(self.error(format!("expected {expected}"))),
        }
    }

    fn skip(&mut self, bytes: usize) {
        let (skipped, rest) = self.rest.split_at(bytes);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }

    fn skip_blanks_and_comments(&mut self) -> Result<(), JaasError> {
        loop {
            let blanks = self.rest.len() - self.rest.trim_start().len();
            self.skip(blanks);
            if self.rest.starts_with("//") || self.rest.starts_with('#') {
                self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                match self.rest.get(2..).and_then(|inside| inside.find("*/")) {
                    Some(end) => self.skip(end + 4),
                    None => return Err(self.error("the comment that opens here is never closed by `*/`".into())),
                }
            } else {
                return Ok(());
            }
        }
    }

    fn next(&mut self) -> Result<Option<Token>, JaasError> {
        self.skip_blanks_and_comments()?;
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        let token = match first {
            '{' => Token::Open,
            '}' => Token::Close,
            ';' => Token::Semicolon,
            '=' => Token::Equals,
            '"' | '\'' => return self.quoted(first).map(Some),
            _ => {
                let ends = |c: char| c.is_whitespace() || "{};=\"'".contains(c);
                let end = self.rest.find(ends).unwrap_or(self.rest.len());
                let word = self.rest.get(..end).unwrap_or_default().to_owned();
                self.skip(end);
                return Ok(Some(Token::Word(word)));
            }
        };
        self.skip(first.len_utf8());
        Ok(Some(token))
    }

    fn quoted(&mut self, quote: char) -> Result<Token, JaasError> {
        let mut word = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                _ if c == quote => {
                    self.skip(at + 1);
                    return Ok(Token::Word(word));
                }
                '\n' => break,
                '\\' => word.extend(chars.next().map(|(_, escaped)| escaped)),
                _ => word.push(c),
            }
        }
        Err(self.error(format!("the string that opens here is not closed by {quote} in its line")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_documented_form() {
        let text = "// who may come in\nServer {\n    org.apache.zookeeper.server.auth.DigestLoginModule required\n    \
                    user_super=\"s \\\"x\" # boss\n    user_bob='hunter2'; /* a\n b */\n};\n\
                    Client { any.Module optional; };";
        let users = users(text, "Server").unwrap().unwrap();
        assert_eq!(users.get("super").map(String::as_str), Some("s \"x"));
        assert_eq!(users.get("bob").map(String::as_str), Some("hunter2"));
        assert_eq!(users.len(), 2);
    }

    #[test]
    fn an_empty_file_has_no_section() {
        assert_eq!(users("", "Server"), Ok(None));
        assert_eq!(users(" # nothing\n", "Server"), Ok(None));
        assert_eq!(users("Client { a.B required x=y; };", "Server"), Ok(None));
    }

    #[test]
    fn mistakes_name_their_line() {
        let line = |text: &str| users(text, "Server").unwrap_err().line;
        assert_eq!(line("Server {\n  com.sun.security.auth.module.Krb5LoginModule required;\n};"), 2);
        assert_eq!(line("Server {\n  a.B maybe"), 2);
        assert_eq!(line("\nServer"), 2);
        let module = format!("Server {{ {DIGEST_LOGIN_MODULE} required\n user_a=\"open\n; }};");
        assert_eq!(line(&module), 2);
        assert_eq!(line("/* open"), 1);
        assert_eq!(line("Server { }"), 1);
    }
}
