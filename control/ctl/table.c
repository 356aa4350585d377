/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a first walk over the rows collects the columns and their widths, a second one
 * prints. Numbers stand at the right of their column, everything else at the left; what a row lacks
 * is "-". Control characters become '?', so that no name can move the terminal's cursor.
 */
#include "control/ctl/table.h"

#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 64
#define INDENT "  " /* between columns */

struct column {
	const char *key; /* of the row that named it first */
	size_t width;    /* characters */
};

struct table {
	struct column columns[COLUMNS_MAX];
	size_t n_columns;
};

/* The text of a cell, to be freed; NULL: out of memory. */
static char *cell_text(const json_t *value)
{
	char number[32];
	char *text;

	switch (value == NULL ? JSON_NULL : json_typeof(value)) {
	case JSON_STRING:
		text = strdup(json_string_value(value));
		break;
	case JSON_INTEGER:
		snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		text = strdup(number);
		break;
	case JSON_REAL:
		snprintf(number, sizeof number, "%.6g", json_real_value(value));
		text = strdup(number);
		break;
	case JSON_TRUE:
		text = strdup("yes");
		break;
	case JSON_FALSE:
		text = strdup("no");
		break;
	case JSON_NULL:
		text = strdup("-");
		break;
	default:
		text = json_dumps(value, JSON_COMPACT);
		break;
	}
	for (char *at = text; at != NULL && *at != '\0'; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '?';
	return text;
}

/* Characters of UTF-8 text: bytes that do not continue one. */
static size_t text_width(const char *text)
{
	size_t n = 0;

	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static struct column *column_of(struct table *table, const char *key)
{
	struct column *column;

	for (size_t i = 0; i < table->n_columns; i++)
		if (strcmp(table->columns[i].key, key) == 0)
			return &table->columns[i];
	if (table->n_columns == COLUMNS_MAX)
		return NULL;
	column = &table->columns[table->n_columns++];
	*column = (struct column){.key = key, .width = text_width(key)};
	return column;
}

static bool measure(struct table *table, json_t *rows)
{
	json_t *row, *value;
	const char *key;
	size_t index;

	json_array_foreach(rows, index, row)
	{
		json_object_foreach(row, key, value)
		{
			struct column *column = column_of(table, key);
			char *text = cell_text(value);

			if (text == NULL)
				return false;
			if (column != NULL && text_width(text) > column->width)
				column->width = text_width(text);
			free(text);
		}
	}
	return true;
}

static void print_cell(FILE *out, const char *text, size_t width, bool right, bool last)
{
	size_t pad = width - text_width(text);

	fprintf(out, "%*s%s", right ? (int)pad : 0, "", text);
	if (!last)
		fprintf(out, "%*s" INDENT, right ? 0 : (int)pad, "");
}

static bool print_rows(FILE *out, const struct table *table, json_t *rows)
{
	size_t index;
	json_t *row;

	for (size_t i = 0; i < table->n_columns; i++)
		print_cell(out, table->columns[i].key, table->columns[i].width, false,
			i + 1 == table->n_columns);
	fputc('\n', out);
	json_array_foreach(rows, index, row)
	{
		for (size_t i = 0; i < table->n_columns; i++) {
			const json_t *value = json_object_get(row, table->columns[i].key);
			char *text = cell_text(value);

			if (text == NULL)
				return false;
			print_cell(out, text, table->columns[i].width, json_is_number(value),
				i + 1 == table->n_columns);
			free(text);
		}
		fputc('\n', out);
	}
	return true;
}

bool table_print(FILE *out, json_t *fields, json_t *rows)
{
	struct table table = {0};
	const char *key;
	json_t *value;

	json_object_foreach(fields, key, value)
	{
		char *text = cell_text(value);

		if (text == NULL)
			return false;
		fprintf(out, "%s: %s\n", key, text);
		free(text);
	}
	if (json_array_size(rows) == 0)
		return true;
	return measure(&table, rows) && print_rows(out, &table, rows);
}
