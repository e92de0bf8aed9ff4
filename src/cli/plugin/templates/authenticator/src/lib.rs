//! An authenticator for names and passwords from its settings: a start, for you to change.
//!
//! wit/plugin.wit says what an authenticator is asked and what it may ask. A client sends
//! `addauth <scheme> alice:secret`. From then on it has the identity `<scheme>:alice` in ACLs and policies.

use wasmkeeper_plugin::{Authenticator, Login, Rejection, Settings, View, authenticator, code, refuse};

struct Passwords {
    /// Logins as `alice:secret`.
    logins: Vec<String>,
}

authenticator!(Passwords, include_str!("../manifest.json"));

impl Authenticator for Passwords {
    /// Also runs before a deployment is accepted. The operator sees the error, so it names the setting.
    fn configure(_scheme: &str, settings: &str) -> Result<Passwords, String> {
        let mut settings = Settings::parse(settings)?;
        let logins = settings.texts("logins")?.unwrap_or_default();
        if let Some(without) = logins.iter().position(|login| !login.contains(':')) {
            return Err(format!("logins: entry {without} is not NAME:PASSWORD"));
        }
        settings.finish()?;
        Ok(Passwords { logins })
    }

    /// The identities that this credential proves. Never log the credential.
    fn authenticate(&self, _view: &View, credential: &[u8]) -> Result<Login, Rejection> {
        let known = self.logins.iter().find(|login| equal(login.as_bytes(), credential));
        let Some(login) = known else { return refuse(code::NO_AUTH, "there is no such login") };
        let name = login.split(':').next().unwrap_or_default();
        Ok(Login { ids: vec![name.into()], valid_until_ms: None })
    }

    // `check_id` and `matches` have defaults: an ACL may name any id, and an id matches only itself.
}

/// Takes the same time wherever the texts differ, so that nobody can guess a password letter by letter.
fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmkeeper_plugin::testing::Tree;

    #[test]
    fn a_login_is_its_name() {
        let passwords = Passwords::configure("staff", r#"{"logins":["alice:secret"]}"#).unwrap();
        let view = Tree::new().view();
        assert_eq!(passwords.authenticate(&view, b"alice:secret").unwrap().ids, ["alice"]);
        assert_eq!(passwords.authenticate(&view, b"alice:guess!").unwrap_err().code, code::NO_AUTH);
    }
}
