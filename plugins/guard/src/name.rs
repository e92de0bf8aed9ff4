//! Patterns for names: `*` is any text, `?` is any one character, and other characters stand for themselves.

/// Whether the whole name matches. Takes at most as many steps as the product of both lengths, because a mismatch goes
/// back only to the last `*`.
pub fn fits(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    let mut star: Option<(std::str::Chars, std::str::Chars)> = None;
    loop {
        let (mut rest_of_pattern, mut rest_of_name) = (pattern.clone(), name.clone());
        match (rest_of_pattern.next(), rest_of_name.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                pattern = rest_of_pattern.clone();
                star = Some((rest_of_pattern, name.clone()));
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                pattern = rest_of_pattern;
                name = rest_of_name;
            }
            _ => {
                // Let the last `*` stand for one more character, and go on behind it.
                let Some((behind, from)) = &mut star else { return false };
                if from.next().is_none() {
                    return false;
                }
                pattern = behind.clone();
                name = from.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns() {
        for (pattern, name) in
            [("*", ""), ("*", "a"), ("a*", "abc"), ("*c", "abcc"), ("a?c", "aöc"), ("a*b*c", "aXbYbc")]
        {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("", "a"), ("a", ""), ("a?", "a"), ("a*b", "abc"), ("*a*a", "a")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
