// Config fragments: lines of a kernel .config (Documentation/kbuild/kconfig-language.rst in the
// kernel's source). The last value of an option counts.

/**
 * Maps an option's name, with CONFIG_, to its value as written: `y`, `64`, `"text"`; `n` if it is
 * not set.
 */
export type Options = ReadonlyMap<string, string>;

/**
 * Reads fragments, or a whole .config, in the order in which they are merged.
 * @throws SyntaxError for a line that is neither an option nor a comment
 */
export function parseOptions(...texts: readonly string[]): Options {
  const options = new Map<string, string>();
  for (const line of texts.flatMap((text) => text.split('\n'))) {
    const [, unset] = /^# (CONFIG_\w+) is not set$/.exec(line) ?? [];
    if (unset !== undefined) {
      options.set(unset, 'n');
      continue;
    }
    const [, option, value] = /^(CONFIG_\w+)=(.+)$/.exec(line) ?? [];
    if (option !== undefined && value !== undefined) options.set(option, value);
    else if (line.trim() !== '' && !line.startsWith('#')) throw new SyntaxError(`not a kernel option: ${line}`);
  }
  return options;
}

/**
 * The options that Kconfig changed or dropped: a line each, with the wanted and the actual value.
 *
 * @param wanted the options of the fragments
 * @param resolved the .config after `make olddefconfig`. An option that it lacks is off, or unknown
 * to this source.
 */
export function lostOptions(wanted: Options, resolved: Options): string[] {
  const lost: string[] = [];
  for (const [option, value] of wanted) {
    const came = resolved.get(option) ?? 'n';
    if (came !== value) lost.push(`${option}=${value} (became ${came})`);
  }
  return lost;
}
