/** The table function through which staged rows reach an INSERT. */

import { type DuckDBConnection, DuckDBTableFunction } from "@duckdb/node-api";
import type { ChunkSource, PlacedRows } from "./chunk-columns.ts";
import { columnType } from "./column-types.ts";
import type { StoredColumn } from "./schema.ts";

/** One INSERT may read the staged rows, after `arm`; a query that names the function finds nothing. */
export interface StagedSource {
  arm(): void;
  disarm(): void;
  /**
   * What an INSERT selects from the function, in the order of the columns. A column in which all staged rows have one value
   * stands as that value: so it need not be filled, copied and, where it is NULL, packed.
   */
  selected(): string;
}

/** Registers the function `name`, whose columns are `columns` and whose rows are those of `source`. */
export function registerStagedSource<S extends PlacedRows>(
  connection: DuckDBConnection,
  name: string,
  columns: readonly StoredColumn[],
  source: ChunkSource<S>,
): StagedSource {
  let armed = false;
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
    selected() {
      const literals = source.literals();
      return columns.map(({ name }, index) => literals[index] ?? name).join(", ");
    },
  };
}
