// Formats lists of commands: as a table, as lines of JSON, or by a template.
import { printableJson } from '../../printable/index.js';
import { formatTable } from './table.js';
import { fillTemplate, parseTemplate } from './template.js';

/** The values of --format, for help. */
export const FORMAT_HELP = 'table, json, or a template such as {{.ID}} (default: table)';

/** The columns of a table: the heading, and the field of a row that the column shows. */
export type Columns<Row> = readonly (readonly [heading: string, field: keyof Row & string])[];

/**
 * Formats a list.
 * @param format see `FORMAT_HELP`
 * @throws UsageError for an invalid template
 */
export function formatList<Row extends Record<keyof Row, unknown>>(
  rows: readonly Row[],
  columns: Columns<Row>,
  format?: string,
): string {
  if (format === 'json' || format === '{{json .}}') return rows.map((row) => `${printableJson(row)}\n`).join('');
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

/** Labels in a cell of a list: `NAME=VALUE,NAME=VALUE`. */
export function formatLabels(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(',');
}

/**
 * Formats the objects of an `inspect` command: as a JSON array, or each by a template.
 * @param format `json` for one line, or a template; default: indented JSON
 * @throws UsageError for an invalid template
 */
export function formatObjects(found: readonly object[], format: string | undefined): string {
  if (!format) return `${printableJson(found, 4)}\n`;
  if (format === 'json') return `${printableJson(found)}\n`;
  return found.map((each) => `${fillTemplate(format, each)}\n`).join('');
}
