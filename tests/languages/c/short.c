// The same validator as `plugin new` makes, in C: it refuses data of more than 1024 bytes, and logs what it refuses.
#include "validator.h"
#include <stdio.h>

enum { BYTES_MAX = 1024, BAD_ARGUMENTS = -8 };

bool exports_wasmkeeper_plugin_setup_configure(validator_string_t *mount, validator_string_t *settings,
                                               validator_string_t *err) {
  validator_string_free(mount);
  validator_string_free(settings);
  return true;
}

bool exports_wasmkeeper_plugin_validation_validate(exports_wasmkeeper_plugin_validation_borrow_view_t view,
                                                   exports_wasmkeeper_plugin_validation_list_change_t *changes,
                                                   exports_wasmkeeper_plugin_validation_rejection_t *err) {
  bool fine = true;
  for (size_t i = 0; fine && i < changes->len; i++) {
    validator_string_t path = changes->ptr[i].path;
    wasmkeeper_plugin_reading_option_stat_t stat;
    if (!wasmkeeper_plugin_reading_method_view_stat(view, &path, &stat, err)) {
      fine = false;  // `err` has the server's own text.
    } else if (stat.is_some && stat.val.data_length > BYTES_MAX) {
      printf("refused %.*s\n", (int)path.len, (const char *)path.ptr);
      fflush(stdout);
      char text[200];
      snprintf(text, sizeof text, "%.*s: %u bytes, at most %d are allowed", (int)path.len, (const char *)path.ptr,
               stat.val.data_length, BYTES_MAX);
      err->code = BAD_ARGUMENTS;
      validator_string_dup(&err->text, text);
      fine = false;
    }
  }
  exports_wasmkeeper_plugin_validation_list_change_free(changes);
  wasmkeeper_plugin_reading_view_drop_borrow(view);
  return fine;
}
