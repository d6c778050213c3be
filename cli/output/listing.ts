// Lists, as the commands that have one print them: a table, lines of JSON, or what a template makes of each row.
import { formatTable } from './table.js';
import { fillTemplate, parseTemplate } from './template.js';

/** What --format takes, for the help. */
export const FORMAT_HELP = 'table, json, or a template such as {{.ID}} (default: table)';

/** A column of the table: its heading, and the field of a row that it shows. */
export type Columns<Row> = readonly (readonly [heading: string, field: keyof Row & string])[];

/**
 * The text of a list.
 * @param format see `FORMAT_HELP`
 * @throws UsageError for a template that is none
 */
export function formatList<Row extends Record<keyof Row, unknown>>(
  rows: readonly Row[],
  columns: Columns<Row>,
  format?: string,
): string {
  if (format === 'json' || format === '{{json .}}') return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
  if (!format || format === 'table') {
    return formatTable(
      columns.map(([heading]) => heading),
      rows.map((row) => columns.map(([, field]) => String(row[field]))),
    );
  }
  const [, tableTemplate] = /^table\s+(.*)$/s.exec(format) ?? [];
  const render = parseTemplate(tableTemplate ?? format);
  const lines = rows.map((row) => render(row));
  if (tableTemplate === undefined) return lines.map((line) => `${line}\n`).join('');
  const heading = [...tableTemplate.matchAll(/\{\{\s*\.(\w+)\s*\}\}/g)].map(
    ([, name = '']) => columns.find(([, field]) => field === name)?.[0] ?? name.toUpperCase(),
  );
  return formatTable(
    heading,
    lines.map((line) => pad(line.split('\t'), heading.length)),
  );
}

function pad(cells: string[], count: number): string[] {
  return Array.from({ length: count }, (_, index) => cells[index] ?? '');
}

/** Labels as lists have them: `NAME=VALUE,NAME=VALUE`. */
export function formatLabels(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(',');
}

/**
 * The text of things that are described: a JSON array, or what a template makes of each.
 * @param format `json` for one line, or a template; default: indented
 * @throws UsageError for a template that is none
 */
export function formatObjects(found: readonly object[], format: string | undefined): string {
  if (!format) return `${JSON.stringify(found, null, 4)}\n`;
  if (format === 'json') return `${JSON.stringify(found)}\n`;
  return found.map((each) => `${fillTemplate(format, each)}\n`).join('');
}
