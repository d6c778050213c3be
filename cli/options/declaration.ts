// Options as data. One declaration says everything about an option: its flags, its line of help, the parser of its
// value, the field that it fills, and what completion offers for its value. commander parses the words.
import { type Command, Option } from 'commander';
import { UsageError } from '../output/errors.js';

/** What an option gives: the fields of `Spec` that were asked for. A field that was not has no key. */
export type Draft<Spec> = { -readonly [Field in keyof Spec]?: Spec[Field] };

interface Described {
  /** As commander reads them: `-m, --memory <SIZE>`. */
  flags: string;
  help: string;
  /** The environment variable that stands for the option where it is not given. */
  env?: string;
  /** What completion offers for the value. Without it, the shell offers the names of files. */
  values?: readonly string[] | (() => readonly string[] | Promise<readonly string[]>);
  /** An old name: it is taken, and neither help nor completion shows it. */
  hidden?: true;
}

/** A flag without a value. It sets a boolean field. */
interface Flag {
  choices?: never;
  parse?: never;
}

/** One of a few words, which help lists and completion offers. */
interface Choice<Value> {
  choices: readonly (Value & string)[];
  parse?: never;
}

interface Parsed<Value> {
  choices?: never;
  /**
   * Reads the value, once for each time that the option is given.
   *
   * @param flag the option's long name, for the error
   * @param before what the field has so far; a parser of lists appends to it, others replace it
   * @returns undefined to leave the field at its default
   * @throws UsageError
   */
  parse(text: string, flag: string, before: Value | undefined): Value | undefined;
}

type FieldDeclaration<Spec, Field extends keyof Spec> = Described & { field: Field; fields?: never } & (
    | (true extends Spec[Field] ? Flag : never)
    | Choice<NonNullable<Spec[Field]>>
    | Parsed<NonNullable<Spec[Field]>>
  );

/** An option whose value says which of several fields it fills. `parse` gives the new values of some of them. */
type FieldsDeclaration<Spec> = Described & {
  field?: never;
  fields: readonly (keyof Spec)[];
  choices?: never;
  parse(text: string, flag: string, before: Draft<Spec>): { [Field in keyof Spec]?: Spec[Field] | undefined };
};

/** The declaration of an option that fills a field of `Spec`. The parser's type is the field's. */
export type Declaration<Spec> =
  | { [Field in keyof Spec]-?: FieldDeclaration<Spec, Field> }[keyof Spec]
  | FieldsDeclaration<Spec>;

/** An option of a command that was made of a declaration. */
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
    // The declaration's own parser reads the values, in the order of the declarations (`readOptions`).
    if (this.required) this.argParser((text: string, before: string[] | undefined) => [...(before ?? []), text]);
  }

  /** What completion offers for the value. */
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
 * The fields that the options of a parsed command fill. Where several options fill one field, they do so in the order of
 * the declarations.
 *
 * @throws UsageError
 */
export function readOptions<Spec extends object>(
  declarations: readonly Declaration<Spec>[],
  command: Command,
): Draft<Spec> {
  const draft: Draft<Spec> = {};
  for (const declaration of declarations) {
    const option = command.options.find(({ flags }) => flags === declaration.flags);
    const name = option?.attributeName() ?? '';
    const given: true | readonly string[] | undefined = command.getOptionValue(name);
    const flag = command.getOptionValueSource(name) === 'env' ? option?.envVar : option?.long;
    if (given === true) fill(draft, { [declaration.field as PropertyKey]: true });
    else for (const text of given ?? []) apply(declaration, flag ?? declaration.flags, text, draft);
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
    // The union of all fields' declarations: each parser is called with its own field's value.
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

/** A text as it is. As in Docker, an empty one stands for the default. */
export function text(value: string): string | undefined {
  return value === '' ? undefined : value;
}

/** For an option that may be given more than once: each value is one more item of the list. */
export function list<Item>(parse: (text: string, flag: string) => Item) {
  return (text: string, flag: string, before: readonly Item[] = []): readonly Item[] => [...before, parse(text, flag)];
}

/** Likewise of texts. */
export const texts = list((text) => text);

/** For an option that may be given more than once, whose values are entries of a record. The last of a name counts. */
export function entries<Value>(parse: (text: string, flag: string) => readonly (readonly [string, Value])[]) {
  return (text: string, flag: string, before: Readonly<Record<string, Value>> = {}): Readonly<Record<string, Value>> =>
    Object.fromEntries([...Object.entries(before), ...parse(text, flag)]);
}
