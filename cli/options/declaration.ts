// Options as data. One declaration has all of an option: its flags, its line of help, the parser of
// its value, the field that it sets, and the values that completion offers. commander parses the
// arguments.
import { type Command, Option } from 'commander';
import { UsageError } from '../output/errors.js';

/** The fields of `Spec` that options have set. A field that no option set has no key. */
export type Draft<Spec> = { -readonly [Field in keyof Spec]?: Spec[Field] };

interface Described {
  /** In commander's form: `-m, --memory <SIZE>`. */
  flags: string;
  help: string;
  /** An environment variable with the value for when the option is absent. */
  env?: string;
  /** The values that completion offers. Without it, the shell offers file names. */
  values?: readonly string[] | (() => readonly string[] | Promise<readonly string[]>);
  /** Neither help nor completion shows the option: it is an old name. */
  hidden?: true;
}

/** A flag without a value, such as `--rm` or `--no-healthcheck`. It sets its field to true. */
interface Flag {
  choices?: never;
  parse?: never;
}

/** One of a few words. Help lists them, and completion offers them. */
interface Choice<Value> {
  choices: readonly (Value & string)[];
  parse?: never;
}

interface Parsed<Value> {
  choices?: never;
  /**
   * Parses a value of the option. Called once for each time that the option is given.
   *
   * @param flag the option's long name, for errors
   * @param before the value of the field so far; a parser of lists appends to it, others ignore it
   * @returns the new value of the field; undefined for its default
   * @throws UsageError
   */
  parse(text: string, flag: string, before: Value | undefined): Value | undefined;
}

type FieldDeclaration<Spec, Field extends keyof Spec> = Described & { field: Field; fields?: never } & (
    | (true extends Spec[Field] ? Flag : never)
    | Choice<NonNullable<Spec[Field]>>
    | Parsed<NonNullable<Spec[Field]>>
  );

/** An option that sets some of several fields. `parse` returns their new values. */
type FieldsDeclaration<Spec> = Described & {
  field?: never;
  fields: readonly (keyof Spec)[];
  choices?: never;
  parse(text: string, flag: string, before: Draft<Spec>): { [Field in keyof Spec]?: Spec[Field] | undefined };
};

/**
 * The declaration of an option that sets a field of `Spec`. The parser has the type of the field.
 */
export type Declaration<Spec> =
  | { [Field in keyof Spec]-?: FieldDeclaration<Spec, Field> }[keyof Spec]
  | FieldsDeclaration<Spec>;

/** commander's option, made from a declaration. */
export class DeclaredOption extends Option {
  readonly #values: NonNullable<Described['values']>;

  constructor({
    flags,
    help,
    env,
    hidden,
    choices,
    values = choices ?? [],
  }: Described & { choices?: readonly string[] }) {
    super(flags, help);
    this.#values = values;
    if (env !== undefined) this.env(env);
    this.hideHelp(hidden === true);
    if (choices !== undefined) this.argChoices = [...choices];
    // commander only collects the texts. `readOptions` parses them, in the order of the
    // declarations.
    if (this.required) this.argParser((text: string, before: string[] | undefined) => [...(before ?? []), text]);
  }

  /** The values that completion offers. */
  async completions(): Promise<string[]> {
    return [...(typeof this.#values === 'function' ? await this.#values() : this.#values)];
  }
}

/** Adds the options to a command. */
export function addOptions<Spec>(command: Command, declarations: readonly Declaration<Spec>[]): Command {
  for (const declaration of declarations) command.addOption(new DeclaredOption(declaration as Described));
  return command;
}

/**
 * The fields that the options of a parsed command set. If several options set one field, they apply
 * in the order of the declarations.
 *
 * @throws UsageError for an invalid value
 */
export function readOptions<Spec extends object>(
  declarations: readonly Declaration<Spec>[],
  command: Command,
): Draft<Spec> {
  const draft: Draft<Spec> = {};
  for (const declaration of declarations) {
    const option = command.options.find(({ flags }) => flags === declaration.flags);
    const name = option?.attributeName() ?? '';
    const given: boolean | readonly string[] | undefined = command.getOptionValue(name);
    const flag = command.getOptionValueSource(name) === 'env' ? option?.envVar : option?.long;
    if (typeof given === 'boolean') {
      // commander has true for `--no-NAME` that is absent.
      if (given !== (option?.negate === true)) fill(draft, { [declaration.field as PropertyKey]: true });
    } else for (const text of given ?? []) apply(declaration, flag ?? declaration.flags, text, draft);
  }
  return draft;
}

function apply<Spec extends object>(
  declaration: Declaration<Spec>,
  flag: string,
  text: string,
  draft: Draft<Spec>,
): void {
  const { field, fields, choices } = declaration;
  if (fields !== undefined) {
    fill(draft, declaration.parse(text, flag, draft));
  } else if (choices !== undefined) {
    fill(draft, { [field]: parseChoice(text, flag, choices) });
  } else {
    // TypeScript sees the union of all parsers here. Each is called with the value of its own
    // field.
    const parse = declaration.parse as unknown as Parsed<unknown>['parse'];
    fill(draft, { [field]: parse(text, flag, draft[field]) });
  }
}

function fill<Spec extends object>(draft: Draft<Spec>, values: object): void {
  Object.assign(draft, values);
  for (const [field, value] of Object.entries(values)) if (value === undefined) delete draft[field as keyof Spec];
}

function parseChoice(text: string, flag: string, choices: readonly string[]): string | undefined {
  if (text === '' || choices.includes(text)) return text === '' ? undefined : text;
  throw new UsageError(
    `invalid argument '${text}' for ${flag}: expected ${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}`,
  );
}

/** A parser of texts. As in Docker, an empty text stands for the default. */
export function text(value: string): string | undefined {
  return value === '' ? undefined : value;
}

/** A parser of a list, for an option that may be repeated: each value is one more item. */
export function list<Item>(parse: (text: string, flag: string) => Item) {
  return (text: string, flag: string, before: readonly Item[] = []): readonly Item[] => [...before, parse(text, flag)];
}

/** A parser of a list of texts. */
export const texts = list((text) => text);

/**
 * A parser of a record, for an option that may be repeated: each value adds entries. The last value
 * of a key wins.
 */
export function entries<Value>(parse: (text: string, flag: string) => readonly (readonly [string, Value])[]) {
  return (text: string, flag: string, before: Readonly<Record<string, Value>> = {}): Readonly<Record<string, Value>> =>
    Object.fromEntries([...Object.entries(before), ...parse(text, flag)]);
}
