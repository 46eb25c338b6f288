//! Escapes of roff inside a line, as plain text.

/// The text of one line: fonts, sizes and motions dropped, special characters spelt.
pub fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            if c == '\t' || !c.is_control() {
                out.push(c);
            }
            continue;
        }
        let Some(kind) = rest.next() else { break };
        match kind {
            // A comment reaches to the end of the line.
            '"' | '#' => break,
            'e' | '\\' => out.push('\\'),
            '-' => out.push('-'),
            '\'' => out.push('\''),
            '`' => out.push('`'),
            '~' | ' ' | '0' => out.push(' '),
            't' => out.push('\t'),
            '.' => out.push('.'),
            'f' | 'F' | 'm' | 'M' | 'k' | 'g' | 'n' | 'Y' => drop(name(&mut rest)),
            '*' => out.push_str(match name(&mut rest).as_str() {
                "R" | "(R" => "(R)",
                "Tm" | "TM" => "(TM)",
                "lq" | "rq" | "C`" | "C'" | "L\"" | "R\"" | "Lq" | "Rq" | "q" => "\"",
                "Aq" => "'",
                "--" => "-",
                "PI" => "pi",
                _ => "",
            }),
            '(' => {
                let two: String = rest.by_ref().take(2).collect();
                out.push_str(&special(&two));
            }
            '[' => {
                let long: String = rest.by_ref().take_while(|c| *c != ']').collect();
                out.push_str(&special(&long));
            }
            's' => size(&mut rest),
            // These take a quoted argument.
            'h' | 'v' | 'w' | 'X' | 'o' | 'N' | 'b' | 'D' | 'l' | 'L' | 'A' | 'B' | 'H' | 'S' | 'x' | 'Z'
            | 'R' | 'C' => {
                let Some(quote) = rest.next() else { break };
                let argument: String = rest.by_ref().take_while(|c| *c != quote).collect();
                match kind {
                    'o' => out.extend(argument.chars().take(1)),
                    'C' => out.push_str(&special(&argument)),
                    // A step to the right: between a bullet and its text.
                    'h' if argument.starts_with('+') => out.push(' '),
                    _ => {}
                }
            }
            'z' => {}
            // Zero-width things: `\&`, `\|`, `\^`, `\%`, `\:`, `\/`, `\,`, `\c`, `\{`, `\}`, `\d`, `\u`, …
            _ => {}
        }
    }
    out
}

/// The argument of an escape that names something: one character, `(xx` or `[…]`, for registers with a sign before it.
fn name(rest: &mut std::str::Chars<'_>) -> String {
    let mut name = String::new();
    let mut first = rest.next();
    if let Some(sign @ ('+' | '-')) = first {
        name.push(sign);
        first = rest.next();
    }
    match first {
        Some('(') => name.extend(rest.by_ref().take(2)),
        Some('[') => name.extend(rest.by_ref().take_while(|c| *c != ']')),
        Some(one) => name.push(one),
        None => {}
    }
    name
}

/// Skips the argument of `\s`.
fn size(rest: &mut std::str::Chars<'_>) {
    let mut ahead = rest.clone();
    let mut first = ahead.next();
    if matches!(first, Some('+' | '-')) {
        *rest = ahead.clone();
        first = ahead.next();
    }
    match first {
        Some('(') => drop(rest.nth(2)),
        Some('[') => drop(rest.by_ref().find(|c| *c == ']')),
        Some('\'') => {
            rest.next();
            rest.by_ref().find(|c| *c == '\'');
        }
        // Two digits only for sizes that there are: 10 to 39.
        Some('1'..='3') if ahead.next().is_some_and(|c| c.is_ascii_digit()) => drop(rest.nth(1)),
        Some('0'..='9') => drop(rest.next()),
        _ => {}
    }
}

/// A special character by its name.
fn special(name: &str) -> String {
    let known = match name {
        "em" | "en" | "hy" | "mi" | "-" => "-",
        "aq" | "oq" | "cq" | "fm" => "'",
        "dq" | "lq" | "rq" => "\"",
        "bu" => "*",
        "co" => "(C)",
        "rg" => "(R)",
        "tm" => "(TM)",
        "ga" => "`",
        "ha" | "a^" => "^",
        "ti" | "ap" => "~",
        "rs" => "\\",
        "at" => "@",
        "sh" => "#",
        "Do" => "$",
        "or" | "ba" | "br" | "bv" => "|",
        "lB" => "[",
        "rB" => "]",
        "lC" => "{",
        "rC" => "}",
        "la" => "<",
        "ra" => ">",
        "<=" => "<=",
        ">=" => ">=",
        "!=" => "!=",
        "==" => "==",
        "->" => "->",
        "<-" => "<-",
        "+-" => "+/-",
        "mu" => "x",
        "pl" => "+",
        "eq" => "=",
        "sl" => "/",
        "ul" | "ru" => "_",
        "de" => " degrees",
        "*m" | "mc" => "u",
        "12" => "1/2",
        "14" => "1/4",
        "ss" => "ß",
        "if" => "infinity",
        ":a" => "ä",
        ":o" => "ö",
        ":u" => "ü",
        ":A" => "Ä",
        ":O" => "Ö",
        ":U" => "Ü",
        "'a" => "á",
        "'e" => "é",
        "'i" => "í",
        "'o" => "ó",
        "'u" => "ú",
        "`e" => "è",
        "~n" => "ñ",
        ",c" => "ç",
        "oa" => "å",
        _ => {
            let code = name.strip_prefix('u').and_then(|hex| u32::from_str_radix(hex, 16).ok());
            return code
                .and_then(char::from_u32)
                .filter(|c| !c.is_control())
                .map(String::from)
                .unwrap_or_default();
        }
    };
    known.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_plain_text() {
        for (roff, text) in [
            (r#"\fB\-\-all\fR, \f(CWx\fP\f[I]y"#, "--all, xy"),
            (r#"a\(bub\[u2014]c \*(L"quoted\*(R""#, "a*b—c \"quoted\""),
            (r#"\s-1POSIX\s0 and \s+2big\s+0"#, "POSIX and big"),
            (r#"C:\\dir \e \" comment"#, "C:\\dir \\ "),
            (r#"\h'-04'\(bu\h'+03'\c"#, "* "),
            (r#"a\"#, "a"),
            (r#"\f"#, ""),
            (r#"\(e"#, ""),
            (r#"\[never closed"#, ""),
            (r#"\w'never closed"#, ""),
        ] {
            assert_eq!(plain(roff), text, "{roff}");
        }
    }
}
