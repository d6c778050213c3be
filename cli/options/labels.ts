// --label and --label-file.
import { messageOf } from '../../errors/index.js';
import { readUserFile } from '../../user-files/index.js';
import { UsageError } from '../output/errors.js';

/** Name and value of `NAME=VALUE`. The value of `NAME` alone is empty. @throws UsageError */
export function parseLabel(text: string): [name: string, value: string] {
  const [name = '', value = ''] = text.split(/=(.*)/s, 2);
  if (name === '') throw new UsageError(`invalid argument '${text}' for --label: expected NAME or NAME=VALUE`);
  return [name, value];
}

/**
 * The labels of a file, one on each line. Empty lines and lines that start with `#` are skipped.
 * @param path `-` for standard input
 * @throws UsageError
 */
export function readLabelFile(path: string): [name: string, value: string][] {
  let text: string;
  try {
    text = readUserFile(path, { stdin: true }).toString();
  } catch (error) {
    throw new UsageError(`cannot read label file ${path}: ${messageOf(error)}`);
  }
  return text.split(/\r?\n/).flatMap((line, index) => {
    if (line.trim() === '' || line.startsWith('#')) return [];
    if (line.startsWith('=')) throw new UsageError(`label file ${path}, line ${index + 1}: the label has no name`);
    return [parseLabel(line)];
  });
}
