/** The table function through which staged rows reach an INSERT. */

import { type DuckDBConnection, DuckDBTableFunction } from "@duckdb/node-api";
import type { ChunkSource, PlacedRows } from "./chunk-columns.ts";
import { columnType } from "./column-types.ts";
import { columnLiteral } from "./late-columns.ts";
import type { StoredColumn } from "./schema.ts";

/** One INSERT may read the staged rows, after `arm`; a query that names the function finds nothing. */
export interface StagedSource<S> {
  arm(): void;
  disarm(): void;
  /**
   * What an INSERT selects from the function for these columns of it. One in which all staged rows have one value
   * stands as that value: so it need not be filled and copied.
   */
  selected(columns: readonly StoredColumn[]): string;
  /** The value in a column of all rows of these batches, as text: null where none has one, undefined where there are several. */
  only(name: string, batches: readonly S[]): string | null | undefined;
}

/** Registers the function `name`, whose columns are `columns` and whose rows are those of `source`. */
export function registerStagedSource<S extends PlacedRows>(
  connection: DuckDBConnection,
  name: string,
  columns: readonly StoredColumn[],
  source: ChunkSource<S>,
): StagedSource<S> {
  let armed = false;
  const places = new Map(columns.map((column, index) => [column.name, index]));
  const only = (name: string, batches: readonly S[]) => source.only(places.get(name) ?? columns.length, batches);
  connection.registerTableFunction(
    DuckDBTableFunction.create({
      name,
      bindFunction: (info) => {
        if (!armed) info.setError("nothing is staged");
        for (const column of columns) info.addResultColumn(column.name, columnType(column.type));
      },
      initFunction: (info) => {
        info.setMaxThreads(1);
        armed = false;
        source.rewind(info.getColumnIndexes());
      },
      supportsProjectionPushdown: true,
      mainFunction: (_info, chunk) => source.fill(chunk.chunk),
    }),
  );
  return {
    arm: () => {
      armed = true;
    },
    disarm: () => {
      armed = false;
    },
    selected(asked) {
      return asked
        .map((column) => {
          const value = only(column.name, source.batches);
          return value === undefined ? column.name : columnLiteral(column, value);
        })
        .join(", ");
    },
    only,
  };
}
