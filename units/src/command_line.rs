//! Command lines of Exec directives: systemd.service(5), "Command lines". Prefixes become flags, words are split, several
//! commands in one line (` ; `) separated, specifiers expanded. Variables stay, as only the machine knows them.

use crate::specifier::Context;
use crate::value;
use formats::service_graph::builder::CommandLine;
use formats::service_graph::key::command;

/// Reads one value of an Exec directive.
pub fn parse(text: &str, context: &Context<'_>) -> Result<Vec<CommandLine>, String> {
    let mut commands = Vec::new();
    let words = value::words(text)?;
    for words in words.split(|word| word == ";") {
        let Some((first, rest)) = words.split_first() else { continue };
        let program_at = first.find(|c| !"@-:+!".contains(c)).unwrap_or(first.len());
        let (prefixes, program) = first.split_at(program_at);
        let mut flags = 0;
        let mut named = false;
        for prefix in prefixes.chars() {
            match prefix {
                '@' => named = true,
                '-' => flags |= command::IGNORE_FAILURE,
                ':' => flags |= command::NO_EXPAND,
                '+' => flags |= command::FULL_PRIVILEGES,
                _ => {}
            }
        }
        // `!!` is `!` where the kernel has no ambient capabilities; Linux has had them since 4.3.
        match (prefixes.matches('!').count(), prefixes.contains('+')) {
            (0, _) | (2, false) => {}
            (1, false) => flags |= command::NO_SETUID,
            _ => return Err(format!("`{prefixes}`: only one of `+`, `!` and `!!` can be given")),
        }
        let program = context.expand(program)?;
        if !program.starts_with('/') {
            return Err(format!("`{program}` is not the absolute path of a program"));
        }
        let mut arguments = rest
            .iter()
            .map(|word| if word == "\\;" { Ok(";".to_owned()) } else { context.expand(word) })
            .collect::<Result<Vec<_>, _>>()?;
        if named {
            if arguments.is_empty() {
                return Err(
                    "after `@` the program's path is followed by the name that it gets as argv[0]".into()
                );
            }
        } else {
            arguments.insert(0, program.clone());
        }
        if !arguments.iter().any(|argument| argument.contains('$')) {
            flags |= command::NO_EXPAND;
        }
        commands.push(CommandLine { flags, program, arguments });
    }
    Ok(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_names_and_several_commands() {
        let context = Context { unit: "a@1.service" };
        let one = |text: &str| parse(text, &context).map(|mut list| (list.len(), list.remove(0)));
        let (count, line) = one("-+@/bin/sh sh -c 'echo %i'").unwrap();
        assert_eq!(
            (count, line.flags & !command::NO_EXPAND),
            (1, command::IGNORE_FAILURE | command::FULL_PRIVILEGES)
        );
        assert_eq!(
            (line.program.as_str(), line.arguments),
            ("/bin/sh", vec!["sh".into(), "-c".into(), "echo 1".into()])
        );
        let (count, line) = one("/bin/a $X ; /bin/b").unwrap();
        assert_eq!((count, line.flags, line.arguments.len()), (2, 0, 2));
        assert!(one("a b").unwrap_err().contains("absolute"));
        assert!(one("@/bin/sh").is_err());
        let flags = |text: &str| one(text).map(|(_, line)| line.flags & !command::NO_EXPAND);
        assert_eq!(flags("!/bin/a").unwrap(), command::NO_SETUID);
        assert_eq!(flags("!!-/bin/a").unwrap(), command::IGNORE_FAILURE, "as if it were not there");
        assert!(flags("!!!/bin/a").is_err() && flags("+!/bin/a").unwrap_err().contains("only one of"));
    }
}
