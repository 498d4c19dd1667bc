/* completion.c - shell completion, made from the command table. Run when the tools are built: gazellectl --generate bash|zsh. */
#include "gazellectl.h"

#include <string.h>

static void words_of_views(void)
{
	for (unsigned i = 0; i < view_count; i++) {
		if (!views[i].letter || !views[i].show)
			continue;
		printf(" -%c %s", views[i].letter, views[i].words[0]);
	}
}

static void bash(void)
{
	printf("# bash completion for gazellectl; made by gazellectl --generate bash\n"
	       "_gazellectl()\n"
	       "{\n"
	       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} w1=${COMP_WORDS[1]} w2=${COMP_WORDS[2]} words=\n"
	       "\tcase $COMP_CWORD in\n"
	       "\t1) words='lstack run help' ;;\n"
	       "\t2) [ \"$w1\" = lstack ] && words='");
	for (unsigned i = 0; i < command_count; i++)
		if (!strncmp(commands[i].words, "lstack ", 7))
			printf("%s%s", i ? " " : "", commands[i].words + 7);
	printf("'\n"
	       "\t   [ \"$w1\" = run ] && words='-i -c -a -g -m --' ;;\n"
	       "\t3) [ \"$w1\" = lstack ] && [ \"$w2\" != list ] &&\n"
	       "\t   words=$(gazellectl lstack list 2>/dev/null | awk 'NR > 1 { print $1; sub(/\\/.*/, \"\", $3); print $3 }') ;;\n"
	       "\t*) case $w1.$w2 in\n"
	       "\t   lstack.show) words='");
	words_of_views();
	printf(" -e state port addr -u --json' ;;\n"
	       "\t   lstack.set) words='loglevel error info debug lowpower 0 1 -u' ;;\n"
	       "\t   lstack.*) words='-u --json' ;;\n"
	       "\t   run.*) words='-i -c -a -g -m --' ;;\n"
	       "\t   esac ;;\n"
	       "\tesac\n"
	       "\tif [ \"$w1\" = run ] && [ \"${COMP_WORDS[COMP_CWORD-1]}\" = -i ]; then\n"
	       "\t\twords=$(ls /sys/class/net)\n"
	       "\tfi\n"
	       "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
	       "}\n"
	       "complete -o default -F _gazellectl gazellectl\n");
}

static void zsh(void)
{
	printf("#compdef gazellectl\n"
	       "# made by gazellectl --generate zsh\n"
	       "local -a cmds who\n"
	       "case $CURRENT in\n"
	       "2) cmds=('lstack:running stacks' 'run:run a program on the stack' 'help:help'); _describe command cmds ;;\n"
	       "3) case $words[2] in\n"
	       "   lstack) cmds=(");
	for (unsigned i = 0; i < command_count; i++)
		if (!strncmp(commands[i].words, "lstack ", 7))
			printf(" '%s:%s'", commands[i].words + 7, commands[i].help);
	printf("); _describe command cmds ;;\n"
	       "   run) _arguments '-i:interface:_net_interfaces' '-c:configuration:_files' '-a:address' '-g:gateway' '-m:mode:(wakeup completion)' ;;\n"
	       "   esac ;;\n"
	       "4) if [[ $words[2] == lstack && $words[3] != list ]]; then\n"
	       "     who=(${(f)\"$(gazellectl lstack list 2>/dev/null | awk 'NR > 1 { print $1 }')\"}); _describe instance who\n"
	       "   fi ;;\n"
	       "*) case $words[3] in\n"
	       "   show) cmds=(");
	for (unsigned i = 0; i < view_count; i++)
		if (views[i].letter && views[i].show)
			printf(" '-%c:%s'", views[i].letter, views[i].help);
	printf("); _describe option cmds ;;\n"
	       "   set) cmds=(loglevel lowpower error info debug 0 1); _describe word cmds ;;\n"
	       "   *) _normal ;;\n"
	       "   esac ;;\n"
	       "esac\n");
}

int generate(const char *what)
{
	if (!strcmp(what, "bash"))
		bash();
	else if (!strcmp(what, "zsh"))
		zsh();
	else
		return failed("--generate %s: unknown word: bash or zsh", what);
	return EXIT_OK;
}
