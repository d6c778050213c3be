// tsvm completion: prints completion scripts for bash, zsh and fish. A script calls
// `tsvm __complete WORDS...`, whose last word is the one being typed, and offers what it prints.
import { Argument, type Command } from 'commander';
import { optionIn } from './commands/arguments.js';
import { type Context, createCommand } from './commands/command.js';
import { findCommand, listedCommands, own } from './commands/lookup.js';
import { DeclaredOption } from './options/declaration.js';
import { containerNames, imageNames, networkNames, snapshotNames, volumeNames } from './options/values.js';

const SCRIPTS: Record<string, string> = {
  bash: `_tsvm() {
  local IFS=$'\\n'
  COMPREPLY=($(compgen -W "$(tsvm __complete "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _tsvm tsvm
`,
  zsh: `#compdef tsvm
_tsvm() {
  local -a found
  found=("\${(@f)$(tsvm __complete "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if (( \${#found[@]} )) && [[ -n $found[1] ]]; then compadd -a found; else _files; fi
}
compdef _tsvm tsvm
`,
  fish: `function __tsvm_complete
  set -l words (commandline -opc) (commandline -ct)
  tsvm __complete $words[2..-1] 2>/dev/null
end
complete -c tsvm -a '(__tsvm_complete)'
`,
};

const EXAMPLES = `
Examples:
  source <(tsvm completion bash)                              # in ~/.bashrc
  source <(tsvm completion zsh)                               # in ~/.zshrc, behind compinit
  tsvm completion fish > ~/.config/fish/completions/tsvm.fish`;

export function command(context: Context): Command {
  return createCommand('tsvm completion', context)
    .description('Writes the script that completes the words of tsvm in a shell.')
    .usage('bash|zsh|fish')
    .addArgument(new Argument('<SHELL>', 'which shell').choices(Object.keys(SCRIPTS)))
    .addHelpText('after', EXAMPLES)
    .action((shell: string) => {
      process.stdout.write(SCRIPTS[shell] ?? '');
    });
}

/** `tsvm __complete`: prints the candidates for the last word, one on each line. */
export function complete(context: Context): Command {
  return createCommand('tsvm __complete', context)
    .argument('[WORD...]')
    .allowUnknownOption()
    .passThroughOptions()
    .helpOption(false)
    .action(async (words: string[]) => {
      const typed = words.at(-1) ?? '';
      const found = await candidates(words.slice(0, -1), typed, context);
      process.stdout.write(
        found
          .filter((word) => word.startsWith(typed))
          .map((word) => `${word}\n`)
          .join(''),
      );
    });
}

async function candidates(before: readonly string[], typed: string, context: Context): Promise<string[]> {
  const { table } = context;
  const [first] = before;
  const names = [...listedCommands(table), ...Object.keys(table.groups)];
  if (first === undefined) return [...names, 'help'];
  if (first === 'help') return before.length === 1 ? names : groupWords(context, before.slice(1));
  if (before.length === 1 && own(table.groups, first) !== undefined) return groupWords(context, before);
  const found = findCommand(table, before);
  if (found === undefined) return [];
  const command = (await found.entry.load()).command(context);
  const position = countArguments(command, found.args);
  const last = command.registeredArguments.at(-1);
  const argument = command.registeredArguments[position] ?? (last?.variadic ? last : undefined);
  // The command of the container has completions of its own, which tsvm does not know.
  if (argument?.name() === 'COMMAND') return [];
  if (typed.startsWith('-')) {
    const shown = command.options.filter(({ hidden }) => !hidden);
    return shown.flatMap(({ long, short }) => [long, short].filter((name) => name != null));
  }
  const { option, value } = optionIn(command, before.at(-1) ?? '') ?? {};
  if (option?.required && value === undefined)
    return option instanceof DeclaredOption ? option.completions() : (option.argChoices ?? []);
  return argument?.argChoices ?? (await valuesOf(argument?.name() ?? '', found.name));
}

/** The subcommands of a group. */
function groupWords({ table }: Context, [name = '', ...more]: readonly string[]): string[] {
  return more.length > 0 ? [] : Object.keys(own(table.groups, name)?.commands ?? {});
}

/**
 * Counts the arguments before the word being typed: the words that are neither an option nor its
 * value.
 */
function countArguments(command: Command, words: readonly string[]): number {
  let count = 0;
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? '';
    const found = optionIn(command, word);
    if (found?.option.required && found.value === undefined) index++;
    else if (!word.startsWith('-')) count++;
  }
  return count;
}

async function valuesOf(argument: string, command: string): Promise<string[]> {
  if (argument === 'CONTAINER') return containerNames();
  if (argument === 'IMAGE') return imageNames();
  if (argument === 'MANIFEST_LIST' && command !== 'manifest create') {
    return (await import('./commands/manifest/names.js')).manifestListNames();
  }
  if (argument === 'NETWORK') return networkNames();
  if (argument === 'VOLUME') return volumeNames();
  if (argument === 'CHECKPOINT' && command !== 'checkpoint create') return snapshotNames();
  if (argument === 'SNAPSHOT' && command !== 'snapshot create') return snapshotNames();
  if (command === 'inspect') return [...containerNames(), ...(await imageNames())];
  if (command === 'cp') return containerNames().map((name) => `${name}:`);
  return [];
}
